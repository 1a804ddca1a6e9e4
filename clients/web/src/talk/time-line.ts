/**
 * The learner's time line: which sample of the session a frame of a microphone begins at. Pure.
 *
 * A microphone counts its own samples from zero. The session counts from its beginning, over every
 * microphone that there was: another one joins where the clock is, so that a gap stays a gap.
 */

/** Places frames on the time line. */
export class TimeLine {
  /** Sample 0, on the clock. */
  #origin: number | null = null;
  /** What is added to the count of the microphone in use. */
  #base: number | null = null;
  #next = 0;

  constructor(private readonly rateHz: number) {}

  /** Index of the sample after the last one that was placed. */
  get next(): number {
    return this.#next;
  }

  /** The session has the samples before this one: the first frame is placed here. */
  goOnFrom(sample: number): void {
    this.#next = sample;
  }

  /** Another microphone comes. */
  changed(): void {
    this.#base = null;
  }

  /**
   * Places a frame: returns the index of its first sample in the session.
   *
   * `first` is the microphone's own count, `samples` its length, `endedAt` when its last sample was
   * taken in, in milliseconds of any clock that is always the same one.
   */
  place(first: number, samples: number, endedAt: number): number {
    const beganAt = endedAt - (samples * 1000) / this.rateHz;
    this.#origin ??= beganAt - (this.#next * 1000) / this.rateHz;
    const byClock = Math.round(((beganAt - this.#origin) * this.rateHz) / 1000);
    this.#base ??= Math.max(this.#next, byClock) - first;
    const index = this.#base + first;
    this.#next = index + samples;
    return index;
  }
}
