/**
 * The page's talk: begins one, ends it, and passes on what the learner does.
 *
 * Everything that decides lies in pure parts (`view`, `silence`, `heard-reports`); a talk under way is
 * a `Call`. Components read `state` and call the verbs.
 */

import { Code } from "@connectrpc/connect";

import { MicrophoneError } from "@/audio/microphone";
import { access } from "@/rpc/clients";
import { problemFromRefusal } from "@/rpc/problem";
import { type Refusal, refusal } from "@/rpc/refusal";
import { type TalkPreferences, prefer, preferences } from "@/wishes/talk-preferences";

import { Call } from "./call";
import type { Diagnostics } from "./diagnostics";
import { endLeft } from "./end-left";
import { problemOf } from "./hearing";
import { type LeftTalk, canGoOn, forgetLeft, leftTalk } from "./left-talk";
import { IDLE, type Levels, type TalkState } from "./talk-state";
import { TalkStore } from "./talk-store";
import { reduce } from "./view";
import { Way } from "./way";

// Saving the last turn and summing up takes well under a second; a server that needs ten is stuck.
const FINISH_WITHIN_MS = 10_000;

/** The one who runs talks. One for the page: a talk goes on while another page is looked at. */
export class Talk {
  readonly #store = new TalkStore();
  readonly #way = new Way();
  #call: Call | null = null;
  #finishTimer: ReturnType<typeof setTimeout> | undefined;
  /** How the talk begins that follows the one that is being ended. */
  #next: { readonly typedOnly: boolean } | null = null;

  get state(): TalkState {
    return this.#store.state;
  }

  /** How loud both sides are just now; read in an animation frame. */
  get levels(): Levels {
    return this.#store.levels;
  }

  /** Calls back at every change of the state; returns what ends that. */
  get subscribe(): TalkStore["subscribe"] {
    return this.#store.subscribe;
  }

  // --- beginning and ending --------------------------------------------------------------------

  /**
   * Begins a talk. Call it from a click: browsers give sound and microphone to nothing else.
   *
   * `typedOnly` goes without a microphone. A talk that was left open is ended first.
   */
  async start({ typedOnly = false } = {}): Promise<void> {
    await this.#begin(typedOnly, null);
  }

  /** Goes on with the talk that another page left, as `start` begins one. */
  async goOn({ typedOnly }: { readonly typedOnly?: boolean | undefined } = {}): Promise<void> {
    const left = leftTalk();
    if (canGoOn(left)) await this.#begin(typedOnly ?? left.typedOnly, left);
  }

  /** Ends the talk that another page left. Never rejects. */
  async endLeft(): Promise<void> {
    const left = leftTalk();
    forgetLeft();
    if (canGoOn(left)) await endLeft(left, this.#way);
  }

  /** Ends the talk in good order: the summary follows. Before it has begun, gives it up. */
  finish(): void {
    const call = this.#call;
    if (this.state.phase === "starting") {
      // It may have begun at the server: left to itself it would keep its place for minutes.
      call?.session?.leave();
      this.#release();
      this.#store.set(IDLE);
      return;
    }
    if (this.state.phase !== "live" || !call) return;
    call.speaking.stopRepeating();
    call.speaking.quiet();
    // Without a connection it is kept, and said as soon as there is one.
    call.session?.finish();
    call.session?.hurry();
    this.#store.change({ phase: "finishing" });
    this.#finishTimer = setTimeout(() => {
      call.session?.leave();
      this.#ended(refusal(Code.DeadlineExceeded, "no answer to the end", "FINISH_UNANSWERED"));
    }, FINISH_WITHIN_MS);
  }

  /**
   * Ends the talk in good order and begins another with `wishes`, without its summary.
   *
   * For what a talk keeps from its first moment. Call it from a click, as `start`. One whose end is
   * not answered stays where it says so.
   */
  startAnother(wishes: Partial<TalkPreferences>): void {
    if (this.state.phase !== "live") return;
    prefer(wishes);
    this.#next = { typedOnly: this.state.listening === "typed-only" };
    this.finish();
  }

  /** Leaves the summary for the choice of a new talk. */
  reset(): void {
    if (this.state.phase === "over") this.#store.set(IDLE);
  }

  /** Drops the talk and everything that is left of it, without a word. */
  drop(): void {
    forgetLeft();
    this.#release();
    this.#store.set(IDLE);
  }

  // --- while it goes on ------------------------------------------------------------------------

  /** Sends a typed utterance. False where nothing was said: there is no talk yet, or no more. */
  say(text: string): boolean {
    const said = text.trim();
    const call = this.#call;
    if (!said || !call?.session || this.state.phase !== "live") return false;
    call.speaking.stopRepeating();
    call.speaking.written();
    call.speaking.quiet();
    call.session.sendText(said);
    this.#store.dispatch({ kind: "typed", text: said });
    return true;
  }

  /** Stops the tutor where it is. */
  interrupt(): void {
    this.#call?.speaking.interrupt();
  }

  /** Mutes the microphone, or opens it again. */
  setMuted(muted: boolean): void {
    this.#store.change({ muted });
    this.#call?.session?.changeSettings({ muted });
  }

  /** Push-to-talk: the button goes down. A tutor who is speaking stops. */
  hold(): void {
    if (this.state.holding || !preferences().pushToTalk || this.state.phase !== "live") return;
    this.#call?.speaking.stopRepeating();
    if (this.state.view.floor === "tutor" || this.state.sounding) this.interrupt();
    this.#store.change({ holding: true });
  }

  /** Push-to-talk: the button comes up, and the utterance is over. */
  letGo(): void {
    if (!this.state.holding) return;
    this.#store.change({ holding: false });
    this.#call?.session?.endTurn();
  }

  /** Changes wishes, in the talk under way as well where they can be. */
  prefer(change: Partial<TalkPreferences>): void {
    prefer(change);
    this.#call?.change(change);
  }

  /** Tries to get the microphone again, in the middle of a talk. */
  async listenAgain(): Promise<void> {
    await this.#call?.hearing.listenAgain();
  }

  /** Starts the sound again where the device has stopped it. Call it from a click. */
  wakeSound(): void {
    this.#call?.wakeSound();
  }

  /** Plays the last reply again, at `rate` times its speed. */
  repeatLast(rate = 1): void {
    this.#call?.speaking.repeat(rate);
  }

  /** Whether there is something to repeat. */
  get canRepeat(): boolean {
    return this.#call?.speaking.canRepeat ?? false;
  }

  /** Takes a notice away. */
  dismiss(id: number): void {
    this.#store.dispatch({ kind: "dismissed", id });
  }

  /** The network is said to be back. */
  hurry(): void {
    this.#call?.session?.hurry();
  }

  /** A look inside; null where no talk goes on. */
  diagnose(): Diagnostics | null {
    return this.#call?.diagnose() ?? null;
  }

  // --- inside ----------------------------------------------------------------------------------

  async #begin(typedOnly: boolean, left: LeftTalk | null): Promise<void> {
    if (this.state.phase === "starting" || this.state.phase === "live") return;
    this.#release();
    this.#store.set({ ...IDLE, phase: "starting", listening: typedOnly ? "typed-only" : "asking" });
    const call = new Call(this.#store, this.#way, (refused) => this.#ended(refused));
    this.#call = call;
    try {
      await Promise.all([call.prepare(typedOnly), left ? undefined : this.endLeft()]);
    } catch (error) {
      if (call !== this.#call) return;
      this.#release();
      const trouble = problemOf(error);
      const ofMicrophone = error instanceof MicrophoneError;
      this.#store.set({ ...IDLE, [ofMicrophone ? "microphoneProblem" : "problem"]: trouble });
      return;
    }
    if (call !== this.#call) return;
    forgetLeft();
    call.open(left);
  }

  #ended(refused: Refusal | null): void {
    const { phase, view } = this.state;
    const next = refused ? null : this.#next;
    this.#release();
    if (next) return void this.start(next);
    const problem = refused ? problemFromRefusal(refused) : null;
    if (phase === "starting") this.#store.set({ ...IDLE, problem });
    else {
      const over = reduce(view, { kind: "over" });
      this.#store.change({ phase: "over", problem, view: over, replay: null, sounding: false });
    }
  }

  #release(): void {
    clearTimeout(this.#finishTimer);
    this.#call?.release();
    this.#call = null;
    this.#next = null;
  }
}

/** The page's talk. */
export const talk = new Talk();

// Who signs in next at this page finds nothing of it, and no open microphone.
access.subscribe(() => {
  if (access.state === "signed-out") talk.drop();
});
