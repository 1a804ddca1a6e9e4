/**
 * One talk at a time: joins the session, the microphone and the loudspeaker, and keeps what is shown.
 *
 * Everything that decides lies in pure parts (`view`, `silence`, `heard-reports`); this only carries
 * messages between them. Components read `state` and call the verbs.
 */

import { create } from "@bufbuild/protobuf";
import { Code } from "@connectrpc/connect";
import {
  type ConverseResponse,
  ReplyKind,
} from "@parley/stubs/parley/conversation/v1/conversation_pb";
import { TurnTakingPreferencesSchema } from "@parley/stubs/parley/types/v1/learner_pb";
import { ReplyEndReason } from "@parley/stubs/parley/types/v1/turn_pb";

import type { Position } from "@/audio/jitter-buffer";
import { Loudspeaker, latencyMs } from "@/audio/loudspeaker";
import { CAPTURE_RATE_HZ, type Captured, Microphone, MicrophoneError } from "@/audio/microphone";
import { Replay } from "@/audio/replay";
import { loadAccount } from "@/auth/session";
import { access } from "@/rpc/clients";
import { type Problem, problemFromRefusal } from "@/rpc/problem";
import { type Refusal, refusal } from "@/rpc/refusal";
import { type Choice, chooseTransport, hasRequestStreams, pageProtocol } from "@/transports/choose";
import type { SessionTransport, TransportName } from "@/transports/link";
import { Push } from "@/transports/push";
import { LiveSession } from "@/transports/session";
import { upload } from "@/transports/upload";
import { websocket } from "@/transports/websocket";

import type { Diagnostics } from "./diagnostics";
import { HeardReports } from "./heard-reports";
import { microphoneProblem } from "./microphone-problem";
import { type TalkPreferences, prefer, preferences } from "./preferences";
import { SilenceMeter } from "./silence";
import { type TurnTaking, startMessage } from "./start-message";
import { TimeLine } from "./time-line";
import {
  type Event,
  NEW_SESSION,
  type SessionView,
  isStale,
  reduce,
  stageViews,
  turnOf,
} from "./view";

const DEFAULT_PLAYBACK_RATE_HZ = 24_000;
// Saving the last turn and summing up takes well under a second; a server that needs ten is stuck.
const FINISH_WITHIN_MS = 10_000;

/** Where a talk stands, apart from the session itself. */
export type Phase = "idle" | "starting" | "live" | "finishing" | "over";

/** Whether the tutor can hear the learner. */
export type Listening = "off" | "asking" | "on" | "typed-only" | "lost";

/** Everything that the page draws. */
export interface TalkState {
  readonly phase: Phase;
  readonly view: SessionView;
  /** Why it did not begin, or ended before its time. */
  readonly problem: Problem | null;
  readonly listening: Listening;
  readonly microphoneProblem: Problem | null;
  readonly muted: boolean;
  /** Push-to-talk: the button is down. */
  readonly holding: boolean;
  /** The turn that is being repeated, and how far. */
  readonly replay: { readonly turn: number; readonly ms: number } | null;
  /** When it began, on `performance.now`'s clock. */
  readonly startedAt: number;
}

const IDLE: TalkState = {
  phase: "idle",
  view: NEW_SESSION,
  problem: null,
  listening: "off",
  microphoneProblem: null,
  muted: false,
  holding: false,
  replay: null,
  startedAt: 0,
};

/** How loud both sides are just now, 0 to 1. */
export interface Levels {
  readonly learner: number;
  readonly tutor: number;
}

/** The one who runs talks. One for the page: a talk goes on while another page is looked at. */
export class Talk {
  #state = IDLE;
  #levels: Levels = { learner: 0, tutor: 0 };
  readonly #listeners = new Set<() => void>();
  #session: LiveSession | null = null;
  #context: AudioContext | null = null;
  #microphone: Microphone | null = null;
  #loudspeaker: Loudspeaker | null = null;
  #choice: Choice = { name: "push", why: "" };
  #failed: TransportName | undefined;
  #silence = new SilenceMeter(CAPTURE_RATE_HZ);
  #reports = new HeardReports();
  #playDelays = new Map<number, number>();
  #position: Position | null = null;
  #playbackRateHz = DEFAULT_PLAYBACK_RATE_HZ;
  #line = new TimeLine(CAPTURE_RATE_HZ);
  #reply: { generation: number; chunks: Int16Array[] } = { generation: 0, chunks: [] };
  #replay: Replay | null = null;
  #reconnections = 0;
  #finishTimer: ReturnType<typeof setTimeout> | undefined;
  #attempt = 0;
  #turnTaking: TurnTaking = {};
  #wakeLock: WakeLockSentinel | null = null;

  get state(): TalkState {
    return this.#state;
  }

  /** How loud both sides are just now; read in an animation frame. */
  get levels(): Levels {
    return this.#levels;
  }

  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };

  // --- beginning and ending --------------------------------------------------------------------

  /**
   * Begins a talk. Call it from a click: browsers give sound and microphone to nothing else.
   *
   * `typedOnly` goes without a microphone.
   */
  async start({ typedOnly = false } = {}): Promise<void> {
    if (this.#state.phase === "starting" || this.#state.phase === "live") return;
    const attempt = ++this.#attempt;
    this.#release();
    this.#set({ ...IDLE, phase: "starting", listening: typedOnly ? "typed-only" : "asking" });
    this.#choice = this.#choose();
    const transport = transportNamed(this.#choice.name);
    const context = new AudioContext({ latencyHint: "interactive" });
    this.#context = context;
    try {
      // In one gesture: the sound is allowed, and the account's wishes are read meanwhile.
      const [account] = await Promise.all([
        loadAccount().catch(() => undefined),
        context.resume().then(() => Loudspeaker.prepare(context)),
        typedOnly ? undefined : this.#listen(transport.frameMs),
      ]);
      this.#turnTaking = account?.turnTaking ? { ...account.turnTaking } : {};
    } catch (error) {
      if (attempt !== this.#attempt) return;
      const trouble = error instanceof MicrophoneError ? error.trouble : "failed";
      this.#release();
      this.#set({ ...IDLE, microphoneProblem: microphoneProblem(trouble) });
      return;
    }
    if (attempt !== this.#attempt) return;
    this.#open(transport);
  }

  /** Ends the talk in good order: the summary follows. Before it has begun, gives it up. */
  finish(): void {
    if (this.#state.phase === "starting" || this.#state.view.floor === "reconnecting") {
      this.#attempt++;
      const live = this.#state.phase === "live";
      this.#release();
      this.#set(live ? { ...this.#state, phase: "over", view: over(this.#state.view) } : IDLE);
      return;
    }
    if (this.#state.phase !== "live") return;
    this.#stopReplay();
    this.#silenceTutor();
    this.#session?.finish();
    this.#set({ ...this.#state, phase: "finishing" });
    this.#finishTimer = setTimeout(() => this.#ended(null), FINISH_WITHIN_MS);
  }

  /** Leaves the summary for the choice of a new talk. */
  reset(): void {
    if (this.#state.phase === "over") this.#set(IDLE);
  }

  // --- while it goes on ------------------------------------------------------------------------

  /** Sends a typed utterance. */
  say(text: string): void {
    const said = text.trim();
    if (!said || !this.#session) return;
    this.#stopReplay();
    this.#silence.typed(performance.now());
    this.#silenceTutor();
    this.#session.sendText(said);
    this.#dispatch({ kind: "typed", text: said });
  }

  /** Stops the tutor where it is. */
  interrupt(): void {
    this.#stopReplay();
    const position = this.#position;
    const { floor, generation } = this.#state.view;
    if (floor !== "tutor" && floor !== "held" && floor !== "thinking") return;
    this.#loudspeaker?.stop(generation);
    const heard = position?.generation === generation ? position.givenMs : 0;
    if (heard > 0) this.#report(generation, heard);
    this.#session?.interrupt(generation, heard);
  }

  /** Mutes the microphone, or opens it again. */
  setMuted(muted: boolean): void {
    this.#set({ ...this.#state, muted });
    this.#session?.changeSettings({ muted });
  }

  /** Push-to-talk: the button goes down. A tutor who is speaking stops. */
  hold(): void {
    if (this.#state.holding || !preferences().pushToTalk || this.#state.phase !== "live") return;
    this.#stopReplay();
    if (this.#state.view.floor === "tutor") this.interrupt();
    this.#set({ ...this.#state, holding: true });
  }

  /** Push-to-talk: the button comes up, and the utterance is over. */
  letGo(): void {
    if (!this.#state.holding) return;
    this.#set({ ...this.#state, holding: false });
    this.#session?.endTurn();
  }

  /** Changes wishes, in the talk under way as well where they can be. */
  prefer(change: Partial<TalkPreferences>): void {
    prefer(change);
    const session = this.#session;
    if (!session || this.#state.phase !== "live") return;
    const { speechRate, voice, captionsOnly, pushToTalk } = change;
    if (speechRate !== undefined) session.changeSettings({ speechRate });
    if (voice !== undefined && voice !== "") session.changeSettings({ voice });
    if (captionsOnly !== undefined) session.changeSettings({ captionsOnly });
    if (pushToTalk !== undefined) {
      this.#turnTaking = { ...this.#turnTaking, pushToTalk };
      session.changeSettings({ turnTaking: create(TurnTakingPreferencesSchema, this.#turnTaking) });
      this.#set({ ...this.#state, holding: false });
    }
    if (change.microphoneId !== undefined || change.rawMicrophone !== undefined) {
      void this.listenAgain();
    }
  }

  /** Tries to get the microphone again, in the middle of a talk. */
  async listenAgain(): Promise<void> {
    if (!this.#context || !this.#session) return;
    this.#microphone?.close();
    this.#microphone = null;
    this.#set({ ...this.#state, listening: "asking", microphoneProblem: null });
    try {
      await this.#listen(this.#session.frameMs);
      this.#set({ ...this.#state, listening: "on" });
    } catch (error) {
      const trouble = error instanceof MicrophoneError ? error.trouble : "failed";
      this.#set({
        ...this.#state,
        listening: "lost",
        microphoneProblem: microphoneProblem(trouble),
      });
    }
  }

  /** Plays the last reply again, at `rate` times its speed. */
  repeatLast(rate = 1): void {
    const context = this.#context;
    const turn = turnOf(this.#state.view, this.#reply.generation);
    if (!context || !turn || this.#reply.chunks.length === 0) return;
    if (this.#replay) return this.#stopReplay();
    this.#silenceTutor();
    const { number } = turn;
    const pcm = joined(this.#reply.chunks);
    this.#replay = new Replay(context, pcm, this.#playbackRateHz, rate, () => {
      this.#replay = null;
      this.#set({ ...this.#state, replay: null });
    });
    const follow = () => {
      if (!this.#replay) return;
      this.#set({ ...this.#state, replay: { turn: number, ms: this.#replay.positionMs } });
      requestAnimationFrame(follow);
    };
    follow();
  }

  /** Whether there is something to repeat. */
  get canRepeat(): boolean {
    return this.#reply.chunks.length > 0;
  }

  /** Takes a notice away. */
  dismiss(id: number): void {
    this.#dispatch({ kind: "dismissed", id });
  }

  /** The network is said to be back. */
  hurry(): void {
    this.#session?.hurry();
  }

  /** A look inside. */
  diagnose(): Diagnostics {
    const { view } = this.#state;
    return {
      transport: this.#session?.transportName ?? this.#choice.name,
      why: this.#choice.why,
      protocol: pageProtocol(),
      roundTripMs: this.#session?.roundTripMs ?? null,
      queued: this.#session?.queued ?? 0,
      position: this.#position,
      contextRateHz: this.#context?.sampleRate ?? null,
      captureRateHz: CAPTURE_RATE_HZ,
      playbackRateHz: this.#loudspeaker ? this.#playbackRateHz : null,
      outputLatencyMs: this.#context ? latencyMs(this.#context) : null,
      microphone: this.#microphone?.label ?? "",
      reconnections: this.#reconnections,
      conversationId: view.conversationId,
      engine: view.engine,
      voice: view.voice,
    };
  }

  // --- inside: opening -------------------------------------------------------------------------

  #choose(): Choice {
    return chooseTransport({
      requestStreams: hasRequestStreams(),
      protocol: pageProtocol(),
      preferred: preferences().transport,
      ...(this.#failed && { failed: this.#failed }),
    });
  }

  #open(transport: SessionTransport): void {
    this.#session = new LiveSession(
      transport,
      startMessage(preferences(), this.#turnTaking, CAPTURE_RATE_HZ),
      {
        onResponse: (response) => this.#receive(response),
        onConnection: (connected) => this.#connection(connected),
        onEnd: (refused) => this.#ended(refused),
      },
      {
        now: () => performance.now(),
        after: (ms, run) => {
          const timer = setTimeout(run, ms);
          return () => clearTimeout(timer);
        },
        renew: () => access.renew(),
        fallback: (failed) => {
          if (failed.name !== "upload") return null;
          this.#failed = "upload";
          this.#choice = this.#choose();
          return this.#choice.name === "push" ? new Push() : null;
        },
      },
    );
    this.#session.open();
  }

  async #listen(frameMs: number): Promise<void> {
    const context = this.#context;
    if (!context) return;
    const { microphoneId, rawMicrophone } = preferences();
    this.#line.changed();
    const opened = await Microphone.open(context, {
      frameMs,
      deviceId: microphoneId,
      processed: !rawMicrophone,
      onFrame: (frame) => this.#captured(frame),
      onLost: () => this.#lostMicrophone(),
    });
    // It may have been given up while the learner was being asked.
    if (this.#context !== context) opened.close();
    else this.#microphone = opened;
  }

  // --- inside: the microphone ------------------------------------------------------------------

  #captured({ pcm, firstSample, level, at }: Captured): void {
    const { phase, muted, holding, view } = this.#state;
    const samples = pcm.length / 2;
    this.#levels = { ...this.#levels, learner: muted ? 0 : level };
    if ((phase !== "live" && phase !== "finishing") || view.floor === "connecting") return;
    const first = this.#line.place(firstSample, samples, at);
    this.#silence.captured(this.#line.next, at);
    const wanted = !preferences().pushToTalk || holding;
    // The repetition must not come back as the learner's words.
    if (wanted && !muted && !this.#replay && phase === "live") this.#session?.sendAudio(pcm, first);
  }

  #lostMicrophone(): void {
    if (this.#state.phase !== "live") return;
    this.#microphone?.close();
    this.#microphone = null;
    this.#levels = { ...this.#levels, learner: 0 };
    this.#set({
      ...this.#state,
      listening: "lost",
      holding: false,
      microphoneProblem: microphoneProblem("lost"),
    });
  }

  // --- inside: the loudspeaker -----------------------------------------------------------------

  #played(position: Position, level: number): void {
    this.#position = position;
    this.#levels = { ...this.#levels, tutor: position.drained ? 0 : level };
    const report = this.#reports.at(position);
    if (report) this.#report(report.generation, report.audioMs);
    const turn = turnOf(this.#state.view, position.generation);
    if (!turn) return;
    // Drawn when the next word lights up, not at every step.
    const lit = turn.words.filter((word) => word.startMs < turn.heardMs).length;
    const due = turn.words[lit]?.startMs ?? Infinity;
    if (position.heardMs > due || position.settled) {
      this.#dispatch({
        kind: "played",
        generation: position.generation,
        audioMs: position.heardMs,
      });
    }
  }

  #sounded(generation: number, at: number): void {
    const delay = this.#silence.replyPlayed(generation, at);
    if (delay === null) return;
    this.#playDelays.set(generation, delay);
    this.#dispatch({ kind: "sounded", generation, silenceMs: this.#silence.silenceMs(generation) });
  }

  #report(generation: number, audioMs: number): void {
    const delay = this.#playDelays.get(generation);
    this.#playDelays.delete(generation);
    this.#session?.sendHeard(generation, audioMs, delay);
  }

  #silenceTutor(): void {
    if (this.#state.view.floor === "tutor" || this.#state.view.floor === "held") this.interrupt();
  }

  #stopReplay(): void {
    this.#replay?.stop();
  }

  // --- inside: the session ---------------------------------------------------------------------

  #receive(response: ConverseResponse): void {
    const at = performance.now();
    const fresh = !isStale(this.#state.view, response);
    if (fresh) this.#act(response, at);
    this.#dispatch(response);
    if (fresh && response.message.case === "replyEnded") this.#measure(response);
  }

  #act(response: ConverseResponse, at: number): void {
    const generation = Number(response.generation);
    const { message } = response;
    switch (message.case) {
      case "started":
        if (this.#state.phase === "starting") this.#began(message.value.outputFormat?.sampleRateHz);
        break;
      case "speechStarted":
        this.#stopReplay();
        break;
      case "transcript":
        if (message.value.final) this.#silence.spoken(Number(message.value.endMs));
        break;
      case "replyStarted": {
        const { kind } = message.value;
        this.#stopReplay();
        this.#loudspeaker?.begin(generation);
        this.#reply = { generation, chunks: [] };
        const answers = kind !== ReplyKind.OPENING && kind !== ReplyKind.HINT;
        this.#silence.replyStarted(response.turn, generation, answers);
        break;
      }
      case "replyText":
        if (
          preferences().captionsOnly &&
          turnOf(this.#state.view, generation)?.silenceMs === null
        ) {
          this.#silence.replyText(generation, at);
          const silenceMs = this.#silence.silenceMs(generation);
          this.#dispatch({ kind: "sounded", generation, silenceMs });
        }
        break;
      case "replyAudio": {
        const { pcm, offsetMs } = message.value;
        const samples = new Int16Array(pcm.slice().buffer);
        this.#silence.replyAudio(generation, samples, at);
        if (generation === this.#reply.generation) this.#reply.chunks.push(samples);
        this.#loudspeaker?.push(generation, offsetMs, pcm);
        break;
      }
      case "replyPaused":
        this.#loudspeaker?.hold();
        if (this.#position) {
          const report = this.#reports.at(this.#position, true);
          if (report) this.#report(report.generation, report.audioMs);
        }
        break;
      case "replyResumed":
        this.#loudspeaker?.goOn();
        break;
      case "replyEnded":
        if (message.value.reason === ReplyEndReason.COMPLETED) {
          this.#loudspeaker?.complete(generation);
        } else this.#loudspeaker?.stop(generation);
        break;
      default:
        break;
    }
  }

  #began(rateHz: number | undefined): void {
    const context = this.#context;
    if (!context) return;
    this.#playbackRateHz = rateHz || DEFAULT_PLAYBACK_RATE_HZ;
    this.#loudspeaker = new Loudspeaker(context, this.#playbackRateHz, {
      onPosition: (position, level) => this.#played(position, level),
      onSounded: (generation, at) => this.#sounded(generation, at),
    });
    const listening = this.#microphone ? "on" : "typed-only";
    this.#set({ ...this.#state, phase: "live", listening, startedAt: performance.now() });
    addEventListener("online", this.#online);
    watchedDevices()?.addEventListener("devicechange", this.#devicesChanged);
    void this.#stayAwake();
  }

  #measure(response: ConverseResponse): void {
    if (response.message.case !== "replyEnded") return;
    const generation = Number(response.generation);
    const stages = this.#silence.stages(
      generation,
      stageViews(response.message.value.stages),
      this.#session?.roundTripMs ?? null,
    );
    this.#dispatch({ kind: "stages", generation, stages });
  }

  #connection(connected: boolean): void {
    if (!connected) this.#reconnections += 1;
    // What is queued goes on playing: the words are here, whatever the line does.
    this.#dispatch({ kind: "connection", connected });
  }

  #ended(refused: Refusal | null): void {
    clearTimeout(this.#finishTimer);
    const { phase, view } = this.#state;
    const offline = refused?.reason === "" && !navigator.onLine;
    const why = offline ? refusal(Code.Unavailable, "offline", "OFFLINE") : refused;
    this.#release();
    const problem = why ? problemFromRefusal(why) : null;
    if (phase === "starting") this.#set({ ...IDLE, problem });
    else this.#set({ ...this.#state, phase: "over", problem, view: over(view), replay: null });
  }

  // --- inside: the rest ------------------------------------------------------------------------

  readonly #online = () => this.hurry();

  readonly #devicesChanged = () => {
    if (this.#state.listening === "lost") void this.listenAgain();
  };

  async #stayAwake(): Promise<void> {
    try {
      this.#wakeLock = await navigator.wakeLock.request("screen");
    } catch {
      // Not to be had here: the screen may go dark, the talk goes on.
    }
  }

  #release(): void {
    removeEventListener("online", this.#online);
    watchedDevices()?.removeEventListener("devicechange", this.#devicesChanged);
    clearTimeout(this.#finishTimer);
    void this.#wakeLock?.release();
    this.#replay?.stop();
    this.#session?.close();
    this.#microphone?.close();
    this.#loudspeaker?.close();
    void this.#context?.close();
    this.#wakeLock = null;
    this.#session = null;
    this.#microphone = null;
    this.#loudspeaker = null;
    this.#context = null;
    this.#position = null;
    this.#line = new TimeLine(CAPTURE_RATE_HZ);
    this.#reconnections = 0;
    this.#levels = { learner: 0, tutor: 0 };
    this.#silence = new SilenceMeter(CAPTURE_RATE_HZ);
    this.#reports = new HeardReports();
    this.#playDelays.clear();
    this.#reply = { generation: 0, chunks: [] };
  }

  #dispatch(event: Event): void {
    const view = reduce(this.#state.view, event);
    if (view !== this.#state.view) this.#set({ ...this.#state, view });
  }

  #set(state: TalkState): void {
    this.#state = state;
    for (const listener of [...this.#listeners]) listener();
  }
}

/** The page's talk. */
export const talk = new Talk();

/** Absent on a plain-HTTP origin, whatever the types say. */
function watchedDevices(): MediaDevices | undefined {
  return navigator.mediaDevices;
}

function over(view: SessionView): SessionView {
  return reduce(view, { kind: "over" });
}

function transportNamed(name: TransportName): SessionTransport {
  if (name === "upload") return upload;
  return name === "websocket" ? websocket : new Push();
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
