/**
 * How long the learner waited: from the end of speech to the first sound of the answer. Pure.
 *
 * All times are of one monotonic clock in milliseconds. The learner's audio is a time line of
 * samples; the clock time of a sample is known from when frames were heard.
 */

import type { StageView } from "./session-view";

interface Reply {
  readonly turn: number;
  /** When waiting began; null where nobody waited or it is not known. */
  readonly endAt: number | null;
  firstReceivedAt: number | null;
  soundingReceivedAt: number | null;
  playedAt: number | null;
}

// About -50 dBFS: above a synthesizer's silence, below its softest consonant.
const SOUNDING = 100;
// What only this side can see; what the server put there is a guess.
const OWN_STAGES = new Set(["received", "played", "unaccounted"]);
// Every reply is asked about within a turn; a talk of hours must not grow.
const KEPT = 8;

/** Measures every reply of a session. */
export class SilenceMeter {
  #origin: number | null = null;
  #typedAt: number | null = null;
  #spokeSince = false;
  #serverEndMs: number | null = null;
  readonly #replies = new Map<number, Reply>();

  /** `rateHz`: of the learner's time line. */
  constructor(private readonly rateHz: number) {}

  /** The last sample before `endSample` was heard at `at`. A frame can come late, never early. */
  captured(endSample: number, at: number): void {
    const origin = at - (endSample * 1000) / this.rateHz;
    this.#origin = this.#origin === null ? origin : Math.min(this.#origin, origin);
  }

  /** A typed utterance was sent: waiting begins now. */
  typed(at: number): void {
    this.#typedAt = at;
    this.#spokeSince = false;
  }

  /** The server hears the learner speak. */
  speechBegan(): void {
    this.#spokeSince = true;
  }

  /**
   * Where the server put the end of an utterance, in milliseconds of the learner's time line.
   *
   * Of one that was typed that is where the last sound came from: perhaps long ago, with the
   * microphone closed. When it was typed is known better.
   */
  spoken(endMs: number): void {
    if (this.#typedAt !== null && !this.#spokeSince) return;
    this.#serverEndMs = endMs;
    this.#typedAt = null;
  }

  /** A reply begins. `answers` is false for an opening or a hint: nobody had asked. */
  replyStarted(turn: number, generation: number, answers: boolean): void {
    this.#replies.set(generation, {
      turn,
      endAt: answers ? this.#endAt() : null,
      firstReceivedAt: null,
      soundingReceivedAt: null,
      playedAt: null,
    });
    for (const old of this.#replies.keys()) if (old <= generation - KEPT) this.#replies.delete(old);
  }

  /** Audio of a reply has arrived. */
  replyAudio(generation: number, samples: Int16Array, at: number): void {
    const reply = this.#replies.get(generation);
    if (reply?.soundingReceivedAt !== null) return;
    reply.firstReceivedAt ??= at;
    if (samples.some((each) => Math.abs(each) > SOUNDING)) reply.soundingReceivedAt = at;
  }

  /** Text of a reply has arrived; with captions only it is the answer's first sign. */
  replyText(generation: number, at: number): void {
    const reply = this.#replies.get(generation);
    if (reply?.soundingReceivedAt !== null) return;
    reply.firstReceivedAt = at;
    reply.soundingReceivedAt = at;
  }

  /**
   * The loudspeaker gave out a reply's first sample.
   *
   * Returns the milliseconds from its arrival to the air; null where it is known already.
   */
  replyPlayed(generation: number, at: number): number | null {
    const reply = this.#replies.get(generation);
    if (reply?.firstReceivedAt == null || reply.playedAt !== null) return null;
    reply.playedAt = at;
    return Math.max(0, at - reply.firstReceivedAt);
  }

  /** The silence that the learner heard before a reply; null where it is not known. */
  silenceMs(generation: number): number | null {
    const reply = this.#replies.get(generation);
    if (reply?.endAt == null) return null;
    const { soundingReceivedAt, firstReceivedAt, playedAt, endAt } = reply;
    const receivedAt = soundingReceivedAt ?? firstReceivedAt;
    if (receivedAt === null) return null;
    const delay = playedAt !== null && firstReceivedAt !== null ? playedAt - firstReceivedAt : 0;
    return Math.max(0, receivedAt + Math.max(0, delay) - endAt);
  }

  /**
   * The server's stages with the parts that only this side sees; they add up to the silence.
   *
   * `roundTripMs`: the shortest seen. The server counts from when the end of speech arrived there,
   * so the way there and the way back both belong to the network.
   */
  stages(
    generation: number,
    stages: readonly StageView[],
    roundTripMs: number | null,
  ): readonly StageView[] {
    const reply = this.#replies.get(generation);
    const silence = this.silenceMs(generation);
    const known = stages.filter((each) => !OWN_STAGES.has(each.name));
    if (!reply || silence === null || known.length === 0) return known;
    const { playedAt, firstReceivedAt } = reply;
    const received = roundTripMs ?? 0;
    const played =
      playedAt !== null && firstReceivedAt !== null ? Math.max(0, playedAt - firstReceivedAt) : 0;
    const explained = known.reduce((sum, { durationMs }) => sum + durationMs, received + played);
    return [
      ...known,
      { name: "received", durationMs: received, note: "" },
      { name: "played", durationMs: played, note: "" },
      { name: "unaccounted", durationMs: silence - explained, note: "" },
    ];
  }

  #endAt(): number | null {
    if (this.#typedAt !== null) return this.#typedAt;
    if (this.#origin === null || this.#serverEndMs === null) return null;
    return this.#origin + this.#serverEndMs;
  }
}
