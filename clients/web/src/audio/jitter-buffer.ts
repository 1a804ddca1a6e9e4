/**
 * The reply on its way to the loudspeaker: a bounded buffer that knows generations. Pure.
 *
 * Whatever the order of calls: no sample of an older generation is taken once a newer one, or
 * `stop`, was seen; what counts as heard only grows within a generation; `stop` empties it at once.
 *
 * Full policy: samples beyond `capacityMs` are refused and counted. The server paces replies, so
 * that means a broken server, and memory stays bounded.
 */

/** How far a reply has been played. */
export interface Position {
  /** Of the reply; 0 before the first. */
  readonly generation: number;
  /** How much of it the loudspeaker has given out, in milliseconds. */
  readonly heardMs: number;
  /** How much the loudspeaker was given: whatever is done now, so much will be heard. */
  readonly givenMs: number;
  /** How much waits here, in milliseconds. */
  readonly queuedMs: number;
  /** Whether any of it was given out. */
  readonly sounded: boolean;
  /** Nothing is on its way to the air: `heardMs` stays until more is played. */
  readonly settled: boolean;
  /** Everything was played, and nothing more will come. */
  readonly drained: boolean;
  /** How often it ran dry in the middle of a reply, over the whole session. */
  readonly underruns: number;
  /** Samples that were not taken because it was full. */
  readonly refused: number;
}

// Longer than any reply the tutor is asked for.
const CAPACITY_MS = 120_000;
// Waited for before the first sample, and again after running dry: the wait is part of the silence
// that the learner hears, and one frame of a server that sends ahead is enough.
const PREBUFFER_MS = 40;
// Offsets come in whole milliseconds, so a chunk may seem to begin this much early or late.
const ROUNDING_MS = 2;
// A jump forward is filled with silence up to this; farther is a broken server.
const LONGEST_GAP_MS = 10_000;

/** What a buffer may be told about where it is. */
export interface BufferOptions {
  /** From `take` to the air; what was taken counts as heard so much later. */
  readonly latencyMs?: number;
  readonly capacityMs?: number;
  readonly prebufferMs?: number;
}

/** Audio of the newest reply, in order, ready to play. int16 mono at `rateHz`. */
export class JitterBuffer {
  readonly #capacity: number;
  readonly #prebuffer: number;
  #latency = 0;
  #chunks: Int16Array[] = [];
  #queued = 0;
  #generation = 0;
  #taken = 0;
  // Samples of silence given out since the last sound: they push that to the air.
  #silent = 0;
  #heard = 0;
  #complete = false;
  #stopped = true;
  #held = false;
  #flowing = false;
  // It ran dry: an underrun if more comes, the reply's end if not.
  #dry = false;
  #underruns = 0;
  #refused = 0;

  constructor(
    readonly rateHz: number,
    { latencyMs = 0, capacityMs = CAPACITY_MS, prebufferMs = PREBUFFER_MS }: BufferOptions = {},
  ) {
    this.#capacity = this.#samples(capacityMs);
    this.#prebuffer = this.#samples(prebufferMs);
    this.setLatency(latencyMs);
  }

  /** Changes the time from `take` to the air: the learner plugged in other headphones. */
  setLatency(latencyMs: number): void {
    this.#latency = this.#samples(latencyMs);
  }

  /** Makes room for a reply. One older than the newest seen changes nothing. */
  begin(generation: number): void {
    if (generation <= this.#generation) return;
    this.#generation = generation;
    this.#empty();
    this.#taken = 0;
    this.#silent = 0;
    this.#heard = 0;
    this.#complete = false;
    this.#stopped = false;
    this.#held = false;
    this.#flowing = false;
    this.#dry = false;
  }

  /** Appends audio that begins `offsetMs` into its reply; repeats are skipped, gaps are silence. */
  push(generation: number, offsetMs: number, samples: Int16Array): void {
    this.begin(generation);
    if (generation !== this.#generation || this.#stopped || this.#complete) return;
    const expected = this.#taken + this.#queued;
    const begin = this.#samples(offsetMs);
    let fresh = samples;
    if (Math.abs(begin - expected) > this.#samples(ROUNDING_MS)) {
      if (begin < expected) fresh = samples.subarray(expected - begin);
      else this.#append(new Int16Array(Math.min(begin - expected, this.#samples(LONGEST_GAP_MS))));
    }
    this.#append(fresh);
  }

  /** Nothing more of this reply will come. */
  complete(generation: number): void {
    if (generation === this.#generation) this.#complete = true;
  }

  /** Falls silent at once: drops what is queued of this reply and of older ones. */
  stop(generation: number): void {
    if (generation < this.#generation) return;
    this.begin(generation);
    this.#empty();
    this.#stopped = true;
    this.#held = false;
  }

  /** Stops where it is and keeps what is queued. */
  hold(): void {
    this.#held = true;
  }

  /** Goes on after `hold`. */
  goOn(): void {
    this.#held = false;
  }

  /** Whether `take` would give sound now. */
  get flowing(): boolean {
    return !this.#held && !this.#stopped && this.#queued > 0 && this.#mayFlow();
  }

  /** Fills `out` for the loudspeaker, with silence where there is no audio; returns how much is sound. */
  take(out: Float32Array): number {
    out.fill(0);
    if (this.#held || this.#stopped) {
      this.#count(0, out.length);
      return 0;
    }
    if (!this.#mayFlow()) {
      this.#dry = this.#taken > 0;
      this.#count(0, out.length);
      return 0;
    }
    let filled = 0;
    while (filled < out.length) {
      const chunk = this.#chunks[0];
      if (!chunk) break;
      const part = chunk.subarray(0, out.length - filled);
      for (let i = 0; i < part.length; i++) out[filled + i] = (part[i] ?? 0) / 32768;
      filled += part.length;
      if (part.length === chunk.length) this.#chunks.shift();
      else this.#chunks[0] = chunk.subarray(part.length);
    }
    this.#queued -= filled;
    this.#flowing = this.#queued > 0;
    this.#dry = filled < out.length && !this.#complete;
    this.#count(filled, out.length - filled);
    return filled;
  }

  /** Tells how far the newest reply has been played. */
  position(): Position {
    const aired = this.#heard >= this.#taken;
    const dry = aired && this.#queued === 0;
    return {
      generation: this.#generation,
      heardMs: this.#ms(this.#heard),
      givenMs: this.#ms(this.#taken),
      queuedMs: this.#ms(this.#queued),
      sounded: this.#taken > 0,
      settled: dry || (aired && this.#held),
      drained: this.#stopped || (this.#complete && dry),
      underruns: this.#underruns,
      refused: this.#refused,
    };
  }

  #mayFlow(): boolean {
    return this.#flowing || this.#complete || this.#queued >= this.#prebuffer;
  }

  #empty(): void {
    this.#chunks = [];
    this.#queued = 0;
  }

  #append(samples: Int16Array): void {
    const room = this.#capacity - this.#queued;
    if (samples.length > room) this.#refused += samples.length - room;
    const taken = samples.length > room ? samples.subarray(0, room) : samples;
    if (taken.length === 0) return;
    if (this.#dry) this.#underruns += 1;
    this.#dry = false;
    this.#chunks.push(taken);
    this.#queued += taken.length;
  }

  #count(filled: number, silent: number): void {
    this.#taken += filled;
    this.#silent = filled > 0 ? silent : this.#silent + silent;
    const inFlight = Math.max(0, this.#latency - this.#silent);
    this.#heard = Math.max(this.#heard, this.#taken - inFlight);
  }

  #samples(ms: number): number {
    return Math.floor((ms * this.rateHz) / 1000);
  }

  #ms(samples: number): number {
    return Math.floor((samples * 1000) / this.rateHz);
  }
}
