/** Plays the tutor's last reply again, at its speed or slower. Apart from the live loudspeaker. */

import { stretch } from "./stretch";

/** One repetition under way. */
export class Replay {
  readonly #source: AudioBufferSourceNode;
  readonly #startedAt: number;
  #stopped = false;

  /** Begins at once. `onEnd` is called when it is over, however that came. */
  constructor(
    private readonly context: AudioContext,
    pcm: Int16Array,
    rateHz: number,
    private readonly rate: number,
    private readonly onEnd: () => void,
  ) {
    const samples = rate === 1 ? pcm : stretch(pcm, rateHz, rate);
    const buffer = context.createBuffer(1, Math.max(1, samples.length), rateHz);
    const channel = buffer.getChannelData(0);
    for (let i = 0; i < samples.length; i++) channel[i] = (samples[i] ?? 0) / 32768;
    this.#source = context.createBufferSource();
    this.#source.buffer = buffer;
    this.#source.connect(context.destination);
    this.#source.addEventListener("ended", () => this.stop());
    this.#source.start();
    this.#startedAt = context.currentTime;
  }

  /** Where it is, in milliseconds of the reply's own time. */
  get positionMs(): number {
    return (this.context.currentTime - this.#startedAt) * 1000 * this.rate;
  }

  /** Stops it. Twice does no harm. */
  stop(): void {
    if (this.#stopped) return;
    this.#stopped = true;
    this.#source.stop();
    this.#source.disconnect();
    this.onEnd();
  }
}
