// Copies what flows through it to the page, block by block, each with its place in the context's
// time. Where nothing flows it copies silence, so that no time is lost.
const BLOCK = 2048;

registerProcessor(
  "test-tap",
  class extends AudioWorkletProcessor {
    #samples = new Float32Array(BLOCK);
    #length = 0;
    #from = 0;

    process([input]) {
      if (this.#length === 0) this.#from = currentFrame;
      const channel = input[0];
      if (channel) this.#samples.set(channel, this.#length);
      this.#length += channel ? channel.length : 128;
      if (this.#length >= BLOCK) {
        this.port.postMessage({ from: this.#from, samples: this.#samples });
        this.#samples = new Float32Array(BLOCK);
        this.#length = 0;
      }
      return true;
    }
  },
);
