/**
 * One talk from its first click to its end: joins the session with the sound of both sides.
 *
 * It carries messages between them; what each side does with them is in `hearing` and `speaking`.
 */

import { create } from "@bufbuild/protobuf";
import { Code } from "@connectrpc/connect";
import type {
  ConverseResponse,
  SessionStarted,
} from "@parley/stubs/parley/conversation/v1/conversation_pb";
import { TurnTakingPreferencesSchema } from "@parley/stubs/parley/types/v1/learner_pb";

import { type Kept, keepRunning, resumed } from "@/audio/keep-running";
import { Loudspeaker, latencyMs } from "@/audio/loudspeaker";
import { CAPTURE_RATE_HZ } from "@/audio/microphone";
import { type Refusal, refusal, refusalFromStatus } from "@/rpc/refusal";
import { pageProtocol } from "@/transports/choose";
import type { SessionTransport } from "@/transports/link";
import { LiveSession } from "@/transports/session";
import { type TalkPreferences, preferences } from "@/wishes/talk-preferences";

import type { Diagnostics } from "./diagnostics";
import { Hearing } from "./hearing";
import { type LeftTalk, openUntil, rememberLeft } from "./left-talk";
import { turnOf } from "./session-view";
import { Speaking } from "./speaking";
import { startMessage } from "./start-message";
import type { TalkStore } from "./talk-store";
import { ToldAgain } from "./told-again";
import { isStale } from "./view";
import type { Way } from "./way";
import { whileLive } from "./while-live";

/** One talk. `prepare` in a click, then `open`; `release` it in the end, however that came. */
export class Call {
  session: LiveSession | null = null;
  readonly hearing: Hearing;
  readonly speaking: Speaking;
  readonly #context = new AudioContext({ latencyHint: "interactive" });
  readonly #transport: SessionTransport;
  #kept: Kept | null = null;
  #leaveDevice: (() => void) | null = null;
  #reconnections = 0;
  /** What the server said would end the session, until the end itself comes. */
  #fatal: Refusal | null = null;
  /** The talk that another page held, where this is one that goes on. */
  #toldAgain: ToldAgain | null = null;
  #resumeS = 0;
  #released = false;

  /** `onEnd` is told once that the session is over: null in good order, else why. */
  constructor(
    readonly store: TalkStore,
    private readonly way: Way,
    private readonly onEnd: (refused: Refusal | null) => void,
  ) {
    this.#transport = way.choose(preferences().transport);
    this.speaking = new Speaking(this.#context, this);
    this.hearing = new Hearing(this.#context, this, this.speaking, () => this.wakeSound());
  }

  /**
   * In one gesture: sound and microphone are allowed.
   *
   * Rejects with a `MicrophoneError` where there is no microphone, else for want of the server.
   */
  async prepare(typedOnly: boolean): Promise<void> {
    const [running] = await Promise.all([
      resumed(this.#context),
      Loudspeaker.prepare(this.#context),
      typedOnly ? undefined : this.hearing.listen(this.#transport.frameMs),
    ]);
    if (this.#released) return;
    this.#kept = keepRunning(this.#context, (stopped) => this.#soundStopped(stopped));
    this.#soundStopped(!running);
  }

  /** Opens the session, or goes on with the one that another page left. */
  open(left: LeftTalk | null): void {
    const start = startMessage(preferences(), CAPTURE_RATE_HZ);
    const events = {
      onResponse: (response: ConverseResponse) => this.#receive(response),
      onConnection: (connected: boolean) => this.#connection(connected),
      onEnd: (refused: Refusal | null) => this.onEnd(this.#why(refused)),
    };
    const world = this.way.world(() => preferences().transport);
    this.session = new LiveSession(this.#transport, start, events, world);
    if (!left) return this.session.open();
    this.#toldAgain = new ToldAgain(left);
    // The page that was left may have been muted, or had a button; this one shows what it has.
    const turnTaking = create(TurnTakingPreferencesSchema, {
      pushToTalk: preferences().pushToTalk,
    });
    this.session.changeSettings({ muted: false, turnTaking });
    this.session.goOn(left);
  }

  /** Changes what can be changed in the middle. */
  change({ speechRate, voice, captionsOnly, pushToTalk, ...more }: Partial<TalkPreferences>): void {
    const { session, store } = this;
    if (!session || store.state.phase !== "live") return;
    if (speechRate !== undefined) session.changeSettings({ speechRate });
    if (voice !== undefined && voice !== "") session.changeSettings({ voice });
    if (captionsOnly !== undefined) session.changeSettings({ captionsOnly });
    if (pushToTalk !== undefined) {
      session.changeSettings({ turnTaking: create(TurnTakingPreferencesSchema, { pushToTalk }) });
      store.change({ holding: false });
    }
    // A learner who writes has asked for no microphone: the wish is for another time.
    if (store.state.listening === "typed-only") return;
    if (more.microphoneId !== undefined || more.rawMicrophone !== undefined) {
      void this.hearing.listenAgain();
    }
  }

  /** Starts the sound again where the device has stopped it. Call it from a click. */
  wakeSound(): void {
    void this.#kept?.wake();
  }

  /** A look inside. */
  diagnose(): Diagnostics {
    const { view } = this.store.state;
    return {
      transport: this.session?.transportName ?? this.way.choice.name,
      why: this.way.choice.why,
      protocol: pageProtocol(),
      roundTripMs: this.session?.roundTripMs ?? null,
      queued: this.session?.queued ?? 0,
      position: this.speaking.position,
      contextRateHz: this.#context.sampleRate,
      captureRateHz: CAPTURE_RATE_HZ,
      playbackRateHz: this.speaking.rateHz,
      outputLatencyMs: latencyMs(this.#context),
      microphone: this.hearing.label,
      reconnections: this.#reconnections,
      conversationId: view.conversationId,
      engine: view.engine,
      voice: view.voice,
    };
  }

  /** Lets everything go, at once. */
  release(): void {
    if (this.#released) return;
    this.#released = true;
    this.#leaveDevice?.();
    this.#kept?.end();
    this.session?.close();
    this.hearing.close();
    this.speaking.close();
    void this.#context.close();
    this.store.sound({ learner: 0, tutor: 0 });
  }

  // --- what the session tells ------------------------------------------------------------------

  #receive(response: ConverseResponse): void {
    const at = performance.now();
    const news = !isStale(this.store.state.view, response) && !this.#toldAgain?.covers(response);
    if (news) this.#act(response, at);
    this.store.dispatch(response);
    if (news) this.speaking.measure(response);
  }

  #act(response: ConverseResponse, at: number): void {
    this.speaking.obey(response, at);
    const { message } = response;
    if (message.case === "started") {
      this.#fatal = null;
      if (this.store.state.phase === "starting") this.#began(message.value);
    } else if (message.case === "notice" && message.value.fatal) {
      this.#fatal = refusalFromStatus(message.value.status);
    }
  }

  #began({ outputFormat, limits, resumed: goesOn, nextSample }: SessionStarted): void {
    this.#resumeS = limits?.resumeS ?? 0;
    this.speaking.open(outputFormat?.sampleRateHz);
    if (goesOn) this.hearing.goOnFrom(Number(nextSample));
    const lost = this.store.state.listening === "lost";
    this.store.change({
      phase: "live",
      listening: this.hearing.listening ? "on" : lost ? "lost" : "typed-only",
      startedAt: performance.now() - (this.#toldAgain?.goingMs ?? 0),
    });
    this.#leaveDevice = whileLive({
      onOnline: () => this.session?.hurry(),
      onLeaving: () => this.#depart(),
      onDevicesChanged: () => {
        if (this.store.state.listening === "lost") void this.hearing.listenAgain();
      },
    });
  }

  #connection(connected: boolean): void {
    if (!connected) this.#reconnections += 1;
    // What is queued goes on playing: the words are here, whatever the line does.
    this.store.dispatch({ kind: "connection", connected });
  }

  /** A session that the server ends is summed up like any other: only its last notice says why. */
  #why(refused: Refusal | null): Refusal | null {
    if (refused?.reason) return refused;
    if (this.#fatal) return this.#fatal;
    const offline = refused !== null && !navigator.onLine;
    return offline ? refusal(Code.Unavailable, "offline", "OFFLINE") : refused;
  }

  // --- what the device tells -------------------------------------------------------------------

  #soundStopped(soundStopped: boolean): void {
    if (soundStopped !== this.store.state.soundStopped) this.store.change({ soundStopped });
  }

  /** The page goes away. The talk stays open for the next page, unless its end was asked for. */
  #depart(): void {
    const { phase, view, listening, startedAt, sounding } = this.store.state;
    if (phase !== "live") return this.session?.leave();
    const left = this.session?.depart();
    if (!left) return;
    const unheard = sounding || turnOf(view, view.generation)?.end === "";
    rememberLeft({
      ...left,
      unheard: unheard ? view.generation : 0,
      typedOnly: listening === "typed-only",
      began: Date.now() - (performance.now() - startedAt),
      until: openUntil(this.#resumeS),
    });
  }
}
