/**
 * One talk at a time: joins the session, the microphone and the loudspeaker, and keeps what is shown.
 *
 * Everything that decides lies in pure parts (`view`, `silence`, `heard-reports`); this only carries
 * messages between them. Components read `state` and call the verbs.
 */

import { create } from "@bufbuild/protobuf";
import { Code } from "@connectrpc/connect";
import type { ConverseResponse } from "@parley/stubs/parley/conversation/v1/conversation_pb";
import { TurnTakingPreferencesSchema } from "@parley/stubs/parley/types/v1/learner_pb";

import { type TalkPreferences, prefer, preferences } from "@/app/talk-preferences";
import type { Position } from "@/audio/jitter-buffer";
import { type Kept, keepRunning, resumed } from "@/audio/keep-running";
import { Loudspeaker, latencyMs } from "@/audio/loudspeaker";
import { CAPTURE_RATE_HZ, type Captured, MicrophoneError } from "@/audio/microphone";
import { loadAccount } from "@/auth/session";
import { access } from "@/rpc/clients";
import { problemFromRefusal } from "@/rpc/problem";
import { type Refusal, refusal, refusalFromStatus } from "@/rpc/refusal";
import { pageProtocol } from "@/transports/choose";
import type { SessionTransport } from "@/transports/link";
import { LiveSession } from "@/transports/session";

import type { Diagnostics } from "./diagnostics";
import { stageViews } from "./for-people";
import { LearnerVoice } from "./learner-voice";
import { forgetLeft, rememberLeft } from "./left-talk";
import { microphoneProblem } from "./microphone-problem";
import { onResponse } from "./on-response";
import { turnOf } from "./session-view";
import { SilenceMeter } from "./silence";
import { type TurnTaking, startMessage } from "./start-message";
import { IDLE, type Levels, type TalkState } from "./talk-state";
import { TalkStore } from "./talk-store";
import { TutorVoice } from "./tutor-voice";
import { isStale, reduce } from "./view";
import { Way } from "./way";
import { whileLive } from "./while-live";

// Saving the last turn and summing up takes well under a second; a server that needs ten is stuck.
const FINISH_WITHIN_MS = 10_000;

/** The one who runs talks. One for the page: a talk goes on while another page is looked at. */
export class Talk {
  readonly #store = new TalkStore();
  #session: LiveSession | null = null;
  #context: AudioContext | null = null;
  #kept: Kept | null = null;
  #learner: LearnerVoice | null = null;
  #tutor: TutorVoice | null = null;
  #silence = new SilenceMeter(CAPTURE_RATE_HZ);
  #reconnections = 0;
  #finishTimer: ReturnType<typeof setTimeout> | undefined;
  #attempt = 0;
  #turnTaking: TurnTaking = {};
  /** What the server said would end the session, until the end itself comes. */
  #fatal: Refusal | null = null;
  #leaveDevice: (() => void) | null = null;
  readonly #way = new Way();

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
   * `typedOnly` goes without a microphone.
   */
  async start({ typedOnly = false } = {}): Promise<void> {
    if (this.state.phase === "starting" || this.state.phase === "live") return;
    const attempt = ++this.#attempt;
    forgetLeft();
    this.#release();
    this.#store.set({ ...IDLE, phase: "starting", listening: typedOnly ? "typed-only" : "asking" });
    const transport = this.#way.choose(preferences().transport);
    const context = new AudioContext({ latencyHint: "interactive" });
    this.#context = context;
    this.#tutor = this.#tutorIn(context);
    this.#learner = this.#learnerIn(context);
    let running = true;
    try {
      // In one gesture: the sound is allowed, and the account's wishes are read meanwhile.
      const [account, runs] = await Promise.all([
        loadAccount().catch(() => undefined),
        resumed(context),
        Loudspeaker.prepare(context),
        typedOnly ? undefined : this.#listen(transport.frameMs),
      ]);
      this.#turnTaking = account?.turnTaking ? { ...account.turnTaking } : {};
      running = runs;
    } catch (error) {
      if (attempt !== this.#attempt) return;
      const trouble = error instanceof MicrophoneError ? error.trouble : "failed";
      this.#release();
      this.#store.set({ ...IDLE, microphoneProblem: microphoneProblem(trouble) });
      return;
    }
    if (attempt !== this.#attempt) return;
    this.#kept = keepRunning(context, (stopped) => this.#soundStopped(stopped));
    this.#soundStopped(!running);
    this.#open(transport);
  }

  /** Ends the talk in good order: the summary follows. Before it has begun, gives it up. */
  finish(): void {
    if (this.state.phase === "starting") {
      this.#attempt++;
      // It may have begun at the server: left to itself it would keep its place for minutes.
      this.#session?.leave();
      this.#release();
      this.#store.set(IDLE);
      return;
    }
    if (this.state.phase !== "live") return;
    this.#tutor?.stopRepeating();
    this.#silenceTutor();
    // Without a connection it is kept, and said as soon as there is one.
    this.#session?.finish();
    this.#session?.hurry();
    this.#store.change({ phase: "finishing" });
    this.#finishTimer = setTimeout(() => {
      this.#session?.leave();
      this.#ended(refusal(Code.DeadlineExceeded, "no answer to the end", "FINISH_UNANSWERED"));
    }, FINISH_WITHIN_MS);
  }

  /** Leaves the summary for the choice of a new talk. */
  reset(): void {
    if (this.state.phase === "over") this.#store.set(IDLE);
  }

  /** Drops the talk and everything that is left of it, without a word. */
  drop(): void {
    this.#attempt++;
    forgetLeft();
    this.#release();
    this.#store.set(IDLE);
  }

  // --- while it goes on ------------------------------------------------------------------------

  /** Sends a typed utterance. */
  say(text: string): void {
    const said = text.trim();
    if (!said || !this.#session) return;
    this.#tutor?.stopRepeating();
    this.#silence.typed(performance.now());
    this.#silenceTutor();
    this.#session.sendText(said);
    this.#store.dispatch({ kind: "typed", text: said });
  }

  /** Stops the tutor where it is. */
  interrupt(): void {
    this.#tutor?.stopRepeating();
    const { floor, generation } = this.state.view;
    // What was queued plays on without a connection, and can be stopped without one.
    const queued = floor === "reconnecting" && this.state.sounding;
    if (floor !== "tutor" && floor !== "held" && floor !== "thinking" && !queued) return;
    const heard = this.#tutor?.cutOff(generation) ?? 0;
    this.#session?.interrupt(generation, heard);
  }

  /** Mutes the microphone, or opens it again. */
  setMuted(muted: boolean): void {
    this.#store.change({ muted });
    this.#session?.changeSettings({ muted });
  }

  /** Push-to-talk: the button goes down. A tutor who is speaking stops. */
  hold(): void {
    if (this.state.holding || !preferences().pushToTalk || this.state.phase !== "live") return;
    this.#tutor?.stopRepeating();
    if (this.state.view.floor === "tutor" || this.state.sounding) this.interrupt();
    this.#store.change({ holding: true });
  }

  /** Push-to-talk: the button comes up, and the utterance is over. */
  letGo(): void {
    if (!this.state.holding) return;
    this.#store.change({ holding: false });
    this.#session?.endTurn();
  }

  /** Changes wishes, in the talk under way as well where they can be. */
  prefer(change: Partial<TalkPreferences>): void {
    prefer(change);
    const session = this.#session;
    if (!session || this.state.phase !== "live") return;
    const { speechRate, voice, captionsOnly, pushToTalk } = change;
    if (speechRate !== undefined) session.changeSettings({ speechRate });
    if (voice !== undefined && voice !== "") session.changeSettings({ voice });
    if (captionsOnly !== undefined) session.changeSettings({ captionsOnly });
    if (pushToTalk !== undefined) {
      this.#turnTaking = { ...this.#turnTaking, pushToTalk };
      session.changeSettings({ turnTaking: create(TurnTakingPreferencesSchema, this.#turnTaking) });
      this.#store.change({ holding: false });
    }
    if (change.microphoneId !== undefined || change.rawMicrophone !== undefined) {
      void this.listenAgain();
    }
  }

  /** Tries to get the microphone again, in the middle of a talk. */
  async listenAgain(): Promise<void> {
    if (!this.#context || !this.#session) return;
    this.#store.change({ listening: "asking", microphoneProblem: null });
    try {
      await this.#listen(this.#session.frameMs);
      this.#store.change({ listening: "on" });
    } catch (error) {
      const trouble = error instanceof MicrophoneError ? error.trouble : "failed";
      this.#store.change({ listening: "lost", microphoneProblem: microphoneProblem(trouble) });
    }
  }

  /** Starts the sound again where the device has stopped it. Call it from a click. */
  wakeSound(): void {
    void this.#kept?.wake();
  }

  /** Plays the last reply again, at `rate` times its speed. */
  repeatLast(rate = 1): void {
    const voice = this.#tutor;
    const turn = voice?.repeatable ? turnOf(this.state.view, voice.repeatable) : undefined;
    if (!voice || !turn) return;
    if (voice.repeating) return voice.stopRepeating();
    this.#silenceTutor();
    voice.repeat(rate, (ms) => {
      const replay = ms === null ? null : { turn: turn.number, ms };
      this.#store.change({ replay });
    });
  }

  /** Whether there is something to repeat. */
  get canRepeat(): boolean {
    return (this.#tutor?.repeatable ?? 0) > 0;
  }

  /** Takes a notice away. */
  dismiss(id: number): void {
    this.#store.dispatch({ kind: "dismissed", id });
  }

  /** The network is said to be back. */
  hurry(): void {
    this.#session?.hurry();
  }

  /** A look inside. */
  diagnose(): Diagnostics {
    const { view } = this.state;
    return {
      transport: this.#session?.transportName ?? this.#way.choice.name,
      why: this.#way.choice.why,
      protocol: pageProtocol(),
      roundTripMs: this.#session?.roundTripMs ?? null,
      queued: this.#session?.queued ?? 0,
      position: this.#tutor?.position ?? null,
      contextRateHz: this.#context?.sampleRate ?? null,
      captureRateHz: CAPTURE_RATE_HZ,
      playbackRateHz: this.#tutor?.rateHz ?? null,
      outputLatencyMs: this.#context ? latencyMs(this.#context) : null,
      microphone: this.#learner?.label ?? "",
      reconnections: this.#reconnections,
      conversationId: view.conversationId,
      engine: view.engine,
      voice: view.voice,
    };
  }

  // --- inside: opening -------------------------------------------------------------------------

  #open(transport: SessionTransport): void {
    this.#session = new LiveSession(
      transport,
      startMessage(preferences(), this.#turnTaking, CAPTURE_RATE_HZ),
      {
        onResponse: (response) => this.#receive(response),
        onConnection: (connected) => this.#connection(connected),
        onEnd: (refused) => this.#ended(refused),
      },
      this.#way.world(() => preferences().transport),
    );
    this.#session.open();
  }

  async #listen(frameMs: number): Promise<void> {
    const { microphoneId, rawMicrophone } = preferences();
    await this.#learner?.listen({ frameMs, deviceId: microphoneId, processed: !rawMicrophone });
  }

  // --- inside: the microphone ------------------------------------------------------------------

  #learnerIn(context: AudioContext): LearnerVoice {
    return new LearnerVoice(context, {
      onFrame: (frame) => this.#captured(frame),
      onLost: () => this.#lostMicrophone(),
      onSilenced: (silenced) => this.#silencedMicrophone(silenced),
    });
  }

  #captured(frame: Captured): void {
    const { phase, muted, holding, view } = this.state;
    const learner = this.#learner;
    this.#store.sound({ learner: muted ? 0 : frame.level });
    if (!learner || (phase !== "live" && phase !== "finishing")) return;
    if (view.floor === "connecting") return;
    const first = learner.place(frame);
    this.#silence.captured(learner.next, frame.at);
    const wanted = !preferences().pushToTalk || holding;
    // The repetition must not come back as the learner's words.
    const repeating = this.#tutor?.repeating ?? false;
    if (!wanted || muted || repeating || phase !== "live") return;
    this.#session?.sendAudio(frame.pcm, first);
  }

  #lostMicrophone(): void {
    if (this.state.phase !== "live") return;
    this.#store.sound({ learner: 0 });
    this.#store.change({
      listening: "lost",
      holding: false,
      microphoneProblem: microphoneProblem("lost"),
    });
  }

  #silencedMicrophone(silenced: boolean): void {
    if (this.state.listening !== "on") return;
    this.#store.change({ microphoneProblem: silenced ? microphoneProblem("silenced") : null });
    // What held the microphone has often stopped the sound as well.
    if (!silenced) this.wakeSound();
  }

  #soundStopped(soundStopped: boolean): void {
    if (soundStopped !== this.state.soundStopped) this.#store.change({ soundStopped });
  }

  // --- inside: the tutor's voice ---------------------------------------------------------------

  #tutorIn(context: AudioContext): TutorVoice {
    return new TutorVoice(context, {
      onPosition: (position, level) => this.#played(position, level),
      onSounded: (generation, at) => this.#sounded(generation, at),
      onHeard: (generation, audioMs, delay) => this.#session?.sendHeard(generation, audioMs, delay),
    });
  }

  #played(position: Position, level: number): void {
    this.#store.sound({ tutor: position.drained ? 0 : level });
    const sounding = position.sounded && !position.drained;
    if (sounding !== this.state.sounding) this.#store.change({ sounding });
    const turn = turnOf(this.state.view, position.generation);
    if (!turn) return;
    // Drawn when the next word lights up, not at every step.
    const lit = turn.words.filter((word) => word.startMs < turn.heardMs).length;
    const due = turn.words[lit]?.startMs ?? Infinity;
    if (position.heardMs > due || position.settled) {
      this.#store.dispatch({
        kind: "played",
        generation: position.generation,
        audioMs: position.heardMs,
      });
    }
  }

  #sounded(generation: number, at: number): number | null {
    const delay = this.#silence.replyPlayed(generation, at);
    if (delay !== null) {
      const silenceMs = this.#silence.silenceMs(generation);
      this.#store.dispatch({ kind: "sounded", generation, silenceMs });
    }
    return delay;
  }

  #silenceTutor(): void {
    const { sounding, view } = this.state;
    if (view.floor === "tutor" || view.floor === "held" || sounding) this.interrupt();
  }

  // --- inside: the session ---------------------------------------------------------------------

  #receive(response: ConverseResponse): void {
    const at = performance.now();
    const fresh = !isStale(this.state.view, response);
    if (fresh) this.#act(response, at);
    this.#store.dispatch(response);
    if (fresh && response.message.case === "replyEnded") this.#measure(response);
  }

  #act(response: ConverseResponse, at: number): void {
    onResponse(response, at, { voice: this.#tutor, silence: this.#silence });
    const { message } = response;
    if (message.case === "started") {
      this.#fatal = null;
      if (this.state.phase === "starting") this.#began(message.value.outputFormat?.sampleRateHz);
    } else if (message.case === "replyText") {
      this.#shown(Number(response.generation), at);
    } else if (message.case === "notice" && message.value.fatal) {
      this.#fatal = refusalFromStatus(message.value.status);
    }
  }

  /** The first words of a reply that is only read end the silence, as its first sound does. */
  #shown(generation: number, at: number): void {
    if (!preferences().captionsOnly) return;
    if (turnOf(this.state.view, generation)?.silenceMs !== null) return;
    this.#silence.replyText(generation, at);
    const silenceMs = this.#silence.silenceMs(generation);
    this.#store.dispatch({ kind: "sounded", generation, silenceMs });
  }

  #began(rateHz: number | undefined): void {
    if (!this.#tutor) return;
    this.#tutor.open(rateHz);
    const listening = this.#learner?.listening ? "on" : "typed-only";
    this.#store.change({ phase: "live", listening, startedAt: performance.now() });
    this.#leaveDevice = whileLive({
      onOnline: () => this.hurry(),
      onLeaving: () => {
        this.#session?.leave();
        rememberLeft(this.state.view.conversationId);
      },
      onDevicesChanged: () => {
        if (this.state.listening === "lost") void this.listenAgain();
      },
    });
  }

  #measure(response: ConverseResponse): void {
    if (response.message.case !== "replyEnded") return;
    const generation = Number(response.generation);
    const stages = this.#silence.stages(
      generation,
      stageViews(response.message.value.stages),
      this.#session?.roundTripMs ?? null,
    );
    this.#store.dispatch({ kind: "stages", generation, stages });
  }

  #connection(connected: boolean): void {
    if (!connected) this.#reconnections += 1;
    // What is queued goes on playing: the words are here, whatever the line does.
    this.#store.dispatch({ kind: "connection", connected });
  }

  #ended(refused: Refusal | null): void {
    clearTimeout(this.#finishTimer);
    const { phase } = this.state;
    const why = this.#whyOver(refused);
    this.#release();
    const problem = why ? problemFromRefusal(why) : null;
    if (phase === "starting") this.#store.set({ ...IDLE, problem });
    else {
      const view = this.#closedView();
      this.#store.change({ phase: "over", problem, view, replay: null, sounding: false });
    }
  }

  /** A session that the server ends is summed up like any other: only its last notice says why. */
  #whyOver(refused: Refusal | null): Refusal | null {
    if (refused?.reason) return refused;
    if (this.#fatal) return this.#fatal;
    const offline = refused !== null && !navigator.onLine;
    return offline ? refusal(Code.Unavailable, "offline", "OFFLINE") : refused;
  }

  // --- inside: the rest ------------------------------------------------------------------------

  #release(): void {
    this.#leaveDevice?.();
    this.#kept?.end();
    clearTimeout(this.#finishTimer);
    this.#session?.close();
    this.#learner?.close();
    this.#tutor?.close();
    void this.#context?.close();
    this.#leaveDevice = null;
    this.#kept = null;
    this.#session = null;
    this.#learner = null;
    this.#tutor = null;
    this.#context = null;
    this.#fatal = null;
    this.#reconnections = 0;
    this.#store.sound({ learner: 0, tutor: 0 });
    this.#silence = new SilenceMeter(CAPTURE_RATE_HZ);
  }

  #closedView(): TalkState["view"] {
    return reduce(this.state.view, { kind: "over" });
  }
}

/** The page's talk. */
export const talk = new Talk();

// Who signs in next at this page finds nothing of it, and no open microphone.
access.subscribe(() => {
  if (access.state === "signed-out") talk.drop();
});
