// Runs before a page does: taps its microphone where it enters Web Audio, and everything it plays
// where it leaves for the loudspeaker. The page knows nothing of it, so nothing of it can be wrong
// in the page's favour.
(() => {
  const connect = AudioNode.prototype.connect;
  const modules = new WeakMap();
  const tapped = new WeakSet();
  const taps = { microphone: [], loudspeaker: [] };

  async function tap(context, node, kind) {
    if (tapped.has(node)) return;
    tapped.add(node);
    const one = { context, rate: context.sampleRate, blocks: [] };
    taps[kind].push(one);
    if (!modules.has(context)) {
      modules.set(context, context.audioWorklet.addModule("/test/tap-worklet.js"));
    }
    await modules.get(context);
    const worklet = new AudioWorkletNode(context, "test-tap");
    worklet.port.onmessage = ({ data }) => one.blocks.push(data);
    connect.call(node, worklet);
  }

  AudioNode.prototype.connect = function (target, ...rest) {
    if (this instanceof MediaStreamAudioSourceNode) void tap(this.context, this, "microphone");
    if (target === this.context.destination) void tap(this.context, this, "loudspeaker");
    return connect.call(this, target, ...rest);
  };

  // A recording is played by an element: led through Web Audio, it is tapped like everything else.
  const play = HTMLMediaElement.prototype.play;
  const led = new WeakSet();
  HTMLMediaElement.prototype.play = function () {
    if (!led.has(this)) {
      led.add(this);
      const context = new AudioContext();
      context.createMediaElementSource(this).connect(context.destination);
    }
    return play.call(this);
  };

  // When a sample of this context sounds, in milliseconds of the page's clock.
  function clock(context) {
    const { contextTime, performanceTime } = context.getOutputTimestamp();
    return performanceTime - contextTime * 1000;
  }

  window.testTap = {
    /** Every stretch that was tapped: its rate, its begin in page milliseconds, and PCM as base64. */
    read(kind) {
      return taps[kind]
        .filter((one) => one.blocks.length > 0)
        .map(({ context, rate, blocks }) => {
          const first = blocks[0].from;
          const last = blocks[blocks.length - 1];
          const pcm = new Int16Array(last.from + last.samples.length - first);
          for (const { from, samples } of blocks) {
            for (let i = 0; i < samples.length; i++) {
              pcm[from - first + i] = Math.max(-1, Math.min(1, samples[i])) * 32767;
            }
          }
          const bytes = new Uint8Array(pcm.buffer);
          let text = "";
          for (let i = 0; i < bytes.length; i += 32768) {
            text += String.fromCharCode(...bytes.subarray(i, i + 32768));
          }
          const beginMs = (first / rate) * 1000 + clock(context);
          return { rate, beginMs, pcm: btoa(text) };
        });
    },
    /** Whether the loudspeaker is silent now, judged by its last block. */
    loudness() {
      let peak = 0;
      for (const one of taps.loudspeaker) {
        if (one.context.state !== "running") continue;
        const last = one.blocks[one.blocks.length - 1];
        if (last) for (const sample of last.samples) peak = Math.max(peak, Math.abs(sample));
      }
      return peak;
    },
  };
})();
