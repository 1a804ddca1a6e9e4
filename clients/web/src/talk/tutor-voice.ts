/**
 * The tutor's side of the sound: plays replies, knows how much of each was heard, repeats the last.
 *
 * Of one talk; where the server has not said yet how its voice is made, all of it does nothing.
 */

import type { Position } from "@/audio/jitter-buffer";
import { Loudspeaker } from "@/audio/loudspeaker";
import { Replay } from "@/audio/replay";

import { HeardReports } from "./heard-reports";

const DEFAULT_RATE_HZ = 24_000;

/** What it tells. */
export interface TutorVoiceEvents {
  /** Where the playing is, and how loud, 0 to 1. Often. */
  onPosition(position: Position, level: number): void;
  /** A reply's first sound; returns its delay in milliseconds where one was measured. */
  onSounded(generation: number, at: number): number | null;
  /** The server has to be told how much was heard. */
  onHeard(generation: number, audioMs: number, playDelayMs: number | undefined): void;
}

/** The tutor's voice in one talk. */
export class TutorVoice {
  #loudspeaker: Loudspeaker | null = null;
  #rateHz = DEFAULT_RATE_HZ;
  #position: Position | null = null;
  readonly #reports = new HeardReports();
  readonly #delays = new Map<number, number>();
  #reply: { generation: number; chunks: Int16Array[] } = { generation: 0, chunks: [] };
  #replay: Replay | null = null;

  constructor(
    private readonly context: AudioContext,
    private readonly events: TutorVoiceEvents,
  ) {}

  /** Makes the loudspeaker, once the server has said its rate; 0 or none means the usual one. */
  open(rateHz: number | undefined): void {
    this.#rateHz = rateHz || DEFAULT_RATE_HZ;
    this.#loudspeaker = new Loudspeaker(this.context, this.#rateHz, {
      onPosition: (position, level) => this.#played(position, level),
      onSounded: (generation, at) => this.#sounded(generation, at),
    });
  }

  /** The rate of the voice; null before it is known. */
  get rateHz(): number | null {
    return this.#loudspeaker ? this.#rateHz : null;
  }

  /** Where the playing is; null before the first sound. */
  get position(): Position | null {
    return this.#position;
  }

  // --- a reply as it comes ---------------------------------------------------------------------

  /** A new reply begins; what is left of the one before is dropped. */
  begin(generation: number): void {
    this.#loudspeaker?.begin(generation);
    this.#reply = { generation, chunks: [] };
  }

  /** Takes a stretch of a reply, int16 mono, and plays it when its time has come. */
  push(generation: number, offsetMs: number, pcm: Uint8Array, samples: Int16Array): void {
    if (generation === this.#reply.generation) this.#reply.chunks.push(samples);
    this.#loudspeaker?.push(generation, offsetMs, pcm);
  }

  /** Nothing more comes of it: plays on to its end. */
  complete(generation: number): void {
    this.#loudspeaker?.complete(generation);
  }

  /** Is still at once. */
  stop(generation: number): void {
    this.#loudspeaker?.stop(generation);
  }

  /** Holds its breath, and tells at once how much was heard: the server has to decide by that. */
  hold(): void {
    this.#loudspeaker?.hold();
    const report = this.#position && this.#reports.at(this.#position, true);
    if (report) this.#tell(report.generation, report.audioMs);
  }

  /** Goes on after `hold`. */
  goOn(): void {
    this.#loudspeaker?.goOn();
  }

  /** Is still at once, tells how much was heard, and returns that in milliseconds. */
  cutOff(generation: number): number {
    this.#loudspeaker?.stop(generation);
    // What the card was given can no longer be stopped: it will have been heard.
    const heardMs = this.#position?.generation === generation ? this.#position.givenMs : 0;
    if (heardMs > 0) this.#tell(generation, heardMs);
    return heardMs;
  }

  // --- the last reply again --------------------------------------------------------------------

  /** The reply that would be repeated; 0 where there is none. */
  get repeatable(): number {
    return this.#reply.chunks.length > 0 ? this.#reply.generation : 0;
  }

  /** Whether one is being repeated. */
  get repeating(): boolean {
    return this.#replay !== null;
  }

  /**
   * Plays the last reply again, at `rate` times its speed.
   *
   * `onMoved` is called at every frame with where it is, in milliseconds of the reply's own time,
   * and with null when it is over, however that came.
   */
  repeat(rate: number, onMoved: (ms: number | null) => void): void {
    const pcm = joined(this.#reply.chunks);
    this.#replay = new Replay(this.context, pcm, this.#rateHz, rate, () => {
      this.#replay = null;
      onMoved(null);
    });
    const follow = () => {
      if (!this.#replay) return;
      onMoved(this.#replay.positionMs);
      requestAnimationFrame(follow);
    };
    follow();
  }

  /** Stops repeating; does no harm where nothing is repeated. */
  stopRepeating(): void {
    this.#replay?.stop();
  }

  /** Is still for good. */
  close(): void {
    this.stopRepeating();
    this.#loudspeaker?.close();
    this.#loudspeaker = null;
  }

  // --- inside ----------------------------------------------------------------------------------

  #played(position: Position, level: number): void {
    this.#position = position;
    const report = this.#reports.at(position);
    if (report) this.#tell(report.generation, report.audioMs);
    this.events.onPosition(position, level);
  }

  #sounded(generation: number, at: number): void {
    const delay = this.events.onSounded(generation, at);
    if (delay !== null) this.#delays.set(generation, delay);
  }

  /** Each delay is told once, with the first report of its reply. */
  #tell(generation: number, audioMs: number): void {
    const delay = this.#delays.get(generation);
    this.#delays.delete(generation);
    this.events.onHeard(generation, audioMs, delay);
  }
}

function joined(chunks: readonly Int16Array[]): Int16Array {
  const all = new Int16Array(chunks.reduce((sum, each) => sum + each.length, 0));
  let at = 0;
  for (const chunk of chunks) {
    all.set(chunk, at);
    at += chunk.length;
  }
  return all;
}
