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
  /** How often a microphone was asked for or given up: only the last asking counts. */
  #asked = 0;
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
   * False where another was asked for meanwhile, or it was given up: it is closed again, and nothing
   * is told of it. Rejects as `Microphone.open`: the error says why there is none.
   */
  async listen({ frameMs, deviceId, processed }: Listening): Promise<boolean> {
    this.stop();
    this.#line.changed();
    const asked = this.#asked;
    const counts = () => asked === this.#asked;
    let opened: Microphone;
    try {
      opened = await Microphone.open(this.context, {
        frameMs,
        deviceId,
        processed,
        onFrame: (frame) => {
          if (counts()) this.events.onFrame(frame);
        },
        onLost: () => {
          if (!counts()) return;
          this.stop();
          this.events.onLost();
        },
        onSilenced: (silenced) => {
          if (counts() && this.listening) this.events.onSilenced(silenced);
        },
      });
    } catch (error) {
      if (counts()) throw error;
      return false;
    }
    if (counts()) this.#microphone = opened;
    else opened.close();
    return counts();
  }

  /** The session has the samples before this one already. */
  goOnFrom(sample: number): void {
    this.#line.goOnFrom(sample);
  }

  /** Places a frame on the session's time line: returns the index of its first sample. */
  place({ pcm, firstSample, at }: Captured): number {
    return this.#line.place(firstSample, pcm.length / 2, at);
  }

  /** Stops listening, and gives up what is being asked for; `listen` begins again. */
  stop(): void {
    this.#asked += 1;
    this.#microphone?.close();
    this.#microphone = null;
  }
}
