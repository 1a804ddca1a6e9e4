/**
 * The tutor's side of one talk: plays what is said, lights up its words, and measures the silence
 * before it.
 */

import type { ConverseResponse } from "@parley/stubs/parley/conversation/v1/conversation_pb";

import type { Position } from "@/audio/jitter-buffer";
import { CAPTURE_RATE_HZ } from "@/audio/microphone";
import { preferences } from "@/wishes/talk-preferences";

import { stageViews } from "./for-people";
import { onResponse } from "./on-response";
import { turnOf } from "./session-view";
import type { Shared } from "./shared";
import { SilenceMeter } from "./silence";
import { TutorVoice } from "./tutor-voice";

/** What the learner hears of the tutor. */
export class Speaking {
  readonly #voice: TutorVoice;
  readonly #silence = new SilenceMeter(CAPTURE_RATE_HZ);

  constructor(
    context: AudioContext,
    private readonly shared: Shared,
  ) {
    this.#voice = new TutorVoice(context, {
      onPosition: (position, level) => this.#played(position, level),
      onSounded: (generation, at) => this.#sounded(generation, at),
      onHeard: (generation, audioMs, delay) =>
        this.shared.session?.sendHeard(generation, audioMs, delay),
    });
  }

  /** The rate of the voice; null before it is known. */
  get rateHz(): number | null {
    return this.#voice.rateHz;
  }

  /** Where the playing is; null before the first sound. */
  get position(): Position | null {
    return this.#voice.position;
  }

  /** The server has said how its voice is made. */
  open(rateHz: number | undefined): void {
    this.#voice.open(rateHz);
  }

  // --- what the server says --------------------------------------------------------------------

  /** Does what a message asks for; `at` is when it came, on `performance.now`'s clock. */
  obey(response: ConverseResponse, at: number): void {
    onResponse(response, at, { voice: this.#voice, silence: this.#silence });
    if (response.message.case === "replyText") this.#shown(Number(response.generation), at);
  }

  /** A reply has ended: shows of what the silence before it was made. */
  measure(response: ConverseResponse): void {
    if (response.message.case !== "replyEnded") return;
    const generation = Number(response.generation);
    const stages = this.#silence.stages(
      generation,
      stageViews(response.message.value.stages),
      this.shared.session?.roundTripMs ?? null,
    );
    this.shared.store.dispatch({ kind: "stages", generation, stages });
  }

  // --- what the learner does -------------------------------------------------------------------

  /** The learner's sound before `endSample` was heard at `at`. */
  captured(endSample: number, at: number): void {
    this.#silence.captured(endSample, at);
  }

  /** The learner has written: an answer is waited for from now on. */
  written(): void {
    this.#silence.typed(performance.now());
  }

  /** Stops the reply that is on its way or being said, and says so. */
  interrupt(): void {
    this.#voice.stopRepeating();
    const { store, session } = this.shared;
    const { floor, generation } = store.state.view;
    // What was queued plays on without a connection, and can be stopped without one.
    const queued = floor === "reconnecting" && store.state.sounding;
    if (floor !== "tutor" && floor !== "held" && floor !== "thinking" && !queued) return;
    const heard = this.#voice.cutOff(generation);
    session?.interrupt(generation, heard);
  }

  /** Stops the reply where there is something to hear of it. */
  quiet(): void {
    const { sounding, view } = this.shared.store.state;
    if (view.floor === "tutor" || view.floor === "held" || sounding) this.interrupt();
  }

  // --- the last reply again --------------------------------------------------------------------

  /** Whether there is something to repeat. */
  get canRepeat(): boolean {
    return this.#voice.repeatable > 0;
  }

  /** Whether a reply is being repeated. */
  get repeating(): boolean {
    return this.#voice.repeating;
  }

  /** Plays the last reply again, at `rate` times its speed; stops where one is being repeated. */
  repeat(rate: number): void {
    const { store } = this.shared;
    const turn = this.canRepeat ? turnOf(store.state.view, this.#voice.repeatable) : undefined;
    if (!turn) return;
    if (this.repeating) return this.stopRepeating();
    this.quiet();
    this.#voice.repeat(rate, (ms) => {
      store.change({ replay: ms === null ? null : { turn: turn.number, ms } });
    });
  }

  /** Does no harm where nothing is repeated. */
  stopRepeating(): void {
    this.#voice.stopRepeating();
  }

  /** Is still for good. */
  close(): void {
    this.#voice.close();
  }

  // --- inside ----------------------------------------------------------------------------------

  #played(position: Position, level: number): void {
    const { store } = this.shared;
    store.sound({ tutor: position.drained ? 0 : level });
    const sounding = position.sounded && !position.drained;
    if (sounding !== store.state.sounding) store.change({ sounding });
    const turn = turnOf(store.state.view, position.generation);
    if (!turn) return;
    // Drawn when the next word lights up, not at every step.
    const lit = turn.words.filter((word) => word.startMs < turn.heardMs).length;
    const due = turn.words[lit]?.startMs ?? Infinity;
    if (position.heardMs > due || position.settled) {
      const { generation, heardMs } = position;
      store.dispatch({ kind: "played", generation, audioMs: heardMs });
    }
  }

  #sounded(generation: number, at: number): number | null {
    const delay = this.#silence.replyPlayed(generation, at);
    if (delay !== null) this.#tellSilence(generation);
    return delay;
  }

  /** The first words of a reply that is only read end the silence, as its first sound does. */
  #shown(generation: number, at: number): void {
    if (!preferences().captionsOnly) return;
    if (turnOf(this.shared.store.state.view, generation)?.silenceMs !== null) return;
    this.#silence.replyText(generation, at);
    this.#tellSilence(generation);
  }

  #tellSilence(generation: number): void {
    const silenceMs = this.#silence.silenceMs(generation);
    this.shared.store.dispatch({ kind: "sounded", generation, silenceMs });
  }
}
