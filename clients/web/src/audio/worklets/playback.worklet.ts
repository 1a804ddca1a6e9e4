/**
 * The loudspeaker's side: the jitter buffer at the reply's rate, brought to the machine's.
 *
 * A cut is a fade of 4 ms, so that it does not click; then it is silent.
 */

import { JitterBuffer } from "../jitter-buffer";
import { Resampler } from "../resampler";
import type { PlaybackCommand, PlaybackOptions, PlaybackReport } from "./messages";

// Often enough to move a highlight smoothly, seldom enough to cost nothing.
const REPORT_EVERY_S = 0.04;
const FADE_S = 0.004;

class Playback extends AudioWorkletProcessor {
  readonly #buffer: JitterBuffer;
  readonly #resampler: Resampler;
  readonly #tap: boolean;
  /** Resampled and not played yet: what is left of a block, or a fade. */
  #ready = new Float32Array(0);
  #sounded = 0;
  #lastReport = 0;
  #power = 0;
  #changed = true;
  #wasSettled = true;

  constructor(options: { readonly processorOptions?: unknown }) {
    super(options);
    const { fromHz, tap } = options.processorOptions as PlaybackOptions;
    this.#buffer = new JitterBuffer(fromHz);
    this.#resampler = new Resampler(fromHz, sampleRate);
    this.#tap = tap;
    this.port.onmessage = ({ data }) => this.#obey(data as PlaybackCommand);
  }

  process(
    _inputs: readonly (readonly Float32Array[])[],
    outputs: readonly (readonly Float32Array[])[],
  ): boolean {
    const channels = outputs[0] ?? [];
    const [first] = channels;
    if (!first) return true;
    this.#fill(first);
    for (const channel of channels) if (channel !== first) channel.set(first);
    if (this.#tap) {
      const copy = first.slice();
      this.#report({ kind: "tap", samples: copy.buffer }, [copy.buffer]);
    }
    this.#tell();
    return true;
  }

  #obey(command: PlaybackCommand): void {
    const buffer = this.#buffer;
    if (buffer.flowing && (command.kind === "stop" || command.kind === "hold")) this.#fade();
    switch (command.kind) {
      case "begin":
        buffer.begin(command.generation);
        break;
      case "push":
        buffer.push(command.generation, command.offsetMs, new Int16Array(command.pcm));
        break;
      case "complete":
        buffer.complete(command.generation);
        break;
      case "stop":
        buffer.stop(command.generation);
        break;
      case "hold":
        buffer.hold();
        break;
      case "go-on":
        buffer.goOn();
        break;
      case "latency":
        buffer.setLatency(command.ms);
        break;
    }
    this.#changed = true;
  }

  #fill(out: Float32Array): void {
    const ratio = this.#buffer.rateHz / sampleRate;
    while (this.#ready.length < out.length) {
      const source = new Float32Array(Math.ceil((out.length - this.#ready.length) * ratio));
      const sounding = this.#buffer.take(source);
      this.#make(source);
      const { generation } = this.#buffer.position();
      if (sounding > 0 && generation !== this.#sounded) {
        this.#sounded = generation;
        this.#report({ kind: "sounded", generation, time: currentTime });
      }
    }
    out.set(this.#ready.subarray(0, out.length));
    this.#ready = this.#ready.slice(out.length);
    for (const sample of out) this.#power += sample * sample;
  }

  #make(source: Float32Array): void {
    const made = this.#resampler.process(source);
    const ready = new Float32Array(this.#ready.length + made.length);
    ready.set(this.#ready);
    ready.set(made, this.#ready.length);
    this.#ready = ready;
  }

  /** Plays a last bit, growing quieter. */
  #fade(): void {
    const source = new Float32Array(Math.round(FADE_S * this.#buffer.rateHz));
    this.#buffer.take(source);
    this.#make(source.map((sample, i) => sample * (1 - i / source.length)));
  }

  #tell(): void {
    const position = this.#buffer.position();
    const settled = position.settled !== this.#wasSettled;
    this.#wasSettled = position.settled;
    const elapsed = currentTime - this.#lastReport;
    if (!settled && !this.#changed && (elapsed < REPORT_EVERY_S || position.drained)) return;
    const level = Math.sqrt(this.#power / Math.max(1, elapsed * sampleRate));
    this.#power = 0;
    this.#lastReport = currentTime;
    this.#changed = false;
    this.#report({ kind: "position", position, level, time: currentTime });
  }

  #report(report: PlaybackReport, transfer?: readonly ArrayBuffer[]): void {
    this.port.postMessage(report, transfer);
  }
}

registerProcessor("parley-playback", Playback);
