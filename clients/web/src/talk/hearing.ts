/**
 * The learner's side of one talk: opens the microphone, and sends what of its sound is wanted.
 *
 * Muted, with the button up, or while a reply is repeated, nothing is sent; time goes on all the same.
 */

import { type Captured, MicrophoneError } from "@/audio/microphone";
import { type Problem, problemFromError } from "@/rpc/problem";
import { preferences } from "@/wishes/talk-preferences";

import { LearnerVoice } from "./learner-voice";
import { microphoneProblem } from "./microphone-problem";
import type { Shared } from "./shared";
import type { Speaking } from "./speaking";

/** What the tutor can hear of the learner. */
export class Hearing {
  readonly #voice: LearnerVoice;

  /** `onReturned`: who held the microphone silent has let it go. */
  constructor(
    context: AudioContext,
    private readonly shared: Shared,
    private readonly speaking: Speaking,
    private readonly onReturned: () => void,
  ) {
    this.#voice = new LearnerVoice(context, {
      onFrame: (frame) => this.#captured(frame),
      onLost: () => this.#lost(),
      onSilenced: (silenced) => this.#silenced(silenced),
    });
  }

  /** Whether a microphone is open. */
  get listening(): boolean {
    return this.#voice.listening;
  }

  /** What the system calls it; empty where there is none. */
  get label(): string {
    return this.#voice.label;
  }

  /** Opens the microphone that is wished for. Answers and rejects as `LearnerVoice.listen`. */
  async listen(frameMs: number): Promise<boolean> {
    const { microphoneId, rawMicrophone } = preferences();
    return this.#voice.listen({ frameMs, deviceId: microphoneId, processed: !rawMicrophone });
  }

  /** Tries to get it again, in the middle of a talk. */
  async listenAgain(): Promise<void> {
    const { store, session } = this.shared;
    if (!session) return;
    store.change({ listening: "asking", microphoneProblem: null });
    try {
      if (await this.listen(session.frameMs)) store.change({ listening: "on" });
    } catch (error) {
      store.change({ listening: "lost", microphoneProblem: problemOf(error) });
    }
  }

  /** The session has this much of the learner's sound already: what comes follows it. */
  goOnFrom(sample: number): void {
    this.#voice.goOnFrom(sample);
  }

  /** Stops for good. */
  close(): void {
    this.#voice.stop();
  }

  #captured(frame: Captured): void {
    const { store, session } = this.shared;
    const { phase, muted, holding, view } = store.state;
    store.sound({ learner: muted ? 0 : frame.level });
    if (phase !== "live" && phase !== "finishing") return;
    if (view.floor === "connecting") return;
    const first = this.#voice.place(frame);
    this.speaking.captured(this.#voice.next, frame.at);
    const wanted = !preferences().pushToTalk || holding;
    // The repetition must not come back as the learner's words.
    if (!wanted || muted || this.speaking.repeating || phase !== "live") return;
    session?.sendAudio(frame.pcm, first);
  }

  #lost(): void {
    const { store, session } = this.shared;
    const { phase, holding } = store.state;
    if (phase !== "live" && phase !== "starting") return;
    store.sound({ learner: 0 });
    // The button is let go as well: what was said before is a turn.
    if (holding) session?.endTurn();
    store.change({
      listening: "lost",
      holding: false,
      microphoneProblem: microphoneProblem("lost"),
    });
  }

  #silenced(silenced: boolean): void {
    const { store } = this.shared;
    if (store.state.listening !== "on") return;
    store.change({ microphoneProblem: silenced ? microphoneProblem("silenced") : null });
    // What held the microphone has often stopped the sound as well.
    if (!silenced) this.onReturned();
  }
}

/** Says why nobody is heard: for want of a microphone, or of a server that answers. */
export function problemOf(error: unknown): Problem {
  if (error instanceof MicrophoneError) return microphoneProblem(error.trouble);
  return problemFromError(error);
}
