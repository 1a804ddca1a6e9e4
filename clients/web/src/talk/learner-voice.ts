/**
 * The learner's side of the sound: one microphone after another, on one time line.
 *
 * Of one talk; the counterpart of the tutor's voice.
 */

import { CAPTURE_RATE_HZ, type Captured, Microphone } from "@/audio/microphone";

import { TimeLine } from "./time-line";

/** Which microphone, and how. */
export interface Listening {
  readonly frameMs: number;
  /** Empty: the system's default. */
  readonly deviceId: string;
  readonly processed: boolean;
}

/** What it tells. */
export interface LearnerVoiceEvents {
  /** A frame was taken in. Often. */
  onFrame(frame: Captured): void;
  /** The device is gone; it was closed. */
  onLost(): void;
  /** Whether somebody else holds it silent. */
  onSilenced(silenced: boolean): void;
}

/** The learner's voice in one talk. */
export class LearnerVoice {
  #microphone: Microphone | null = null;
  #closed = false;
  readonly #line = new TimeLine(CAPTURE_RATE_HZ);

  constructor(
    private readonly context: AudioContext,
    private readonly events: LearnerVoiceEvents,
  ) {}

  /** Whether a microphone is open. */
  get listening(): boolean {
    return this.#microphone !== null;
  }

  /** What the system calls it; empty where there is none. */
  get label(): string {
    return this.#microphone?.label ?? "";
  }

  /** Index of the sample after the last one that was placed. */
  get next(): number {
    return this.#line.next;
  }

  /**
   * Opens a microphone in the place of the one before.
   *
   * Rejects as `Microphone.open`: the error says why there is none.
   */
  async listen({ frameMs, deviceId, processed }: Listening): Promise<void> {
    this.stop();
    this.#line.changed();
    const opened = await Microphone.open(this.context, {
      frameMs,
      deviceId,
      processed,
      onFrame: (frame) => this.events.onFrame(frame),
      onLost: () => {
        this.stop();
        this.events.onLost();
      },
      onSilenced: (silenced) => {
        if (this.listening) this.events.onSilenced(silenced);
      },
    });
    // It may have been given up while the learner was being asked.
    if (this.#closed) opened.close();
    else this.#microphone = opened;
  }

  /** The session has the samples before this one already. */
  goOnFrom(sample: number): void {
    this.#line.goOnFrom(sample);
  }

  /** Places a frame on the session's time line: returns the index of its first sample. */
  place({ pcm, firstSample, at }: Captured): number {
    return this.#line.place(firstSample, pcm.length / 2, at);
  }

  /** Stops listening; `listen` begins again. */
  stop(): void {
    this.#microphone?.close();
    this.#microphone = null;
  }

  /** Stops for good. */
  close(): void {
    this.#closed = true;
    this.stop();
  }
}
