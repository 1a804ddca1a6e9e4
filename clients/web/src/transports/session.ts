/**
 * One live session that survives its connections.
 *
 * A connection that breaks is made again with the resume handle, for at most `RECONNECT_FOR_MS`:
 * what the server said meanwhile comes again, once; what the learner said and did is sent then.
 * Knows no browser: the transport and the clock are given.
 */

import { type MessageInitShape, create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { Code } from "@connectrpc/connect";
import {
  type ChangeSettings,
  ChangeSettingsSchema,
  type ConverseRequest,
  ConverseRequestSchema,
  type ConverseResponse,
  type Heard,
  HeardSchema,
  type StartSession,
  StartSessionSchema,
} from "@parley/stubs/parley/conversation/v1/conversation_pb";

import { type Refusal, connectionLost, refusal, retryable } from "@/rpc/refusal";

import { Backlog } from "./backlog";
import { Heartbeat, type HeartbeatWorld } from "./heartbeat";
import type { Link, SessionTransport, TransportName } from "./link";

// A network that drops for 30 s is survived: the tries lie up to 3 s apart.
export const RECONNECT_FOR_MS = 35_000;
const FIRST_PAUSE_MS = 250;
const LONGEST_PAUSE_MS = 3_000;
// A server that is being replaced is back, or another takes its place, within about two seconds.
const OPEN_TRIES = 3;
const FIRST_OPEN_PAUSE_MS = 500;
// Opening includes loading a model's session; a gateway answers a dead server at once.
const OPEN_WITHIN_MS = 20_000;
// The first ping leaves with the first message. A way up that a proxy holds back carries none for
// as long as it is open, while the way down works: no silence tells.
const PROVED_WITHIN_MS = 8_000;

/** What the session tells. */
export interface SessionEvents {
  /** A message of the server, each once and in order. */
  onResponse(response: ConverseResponse): void;
  /** The connection was lost (false) or is back (true). */
  onConnection(connected: boolean): void;
  /** Over for good: null after `ended`, else why. Nothing comes after it. */
  onEnd(refusal: Refusal | null): void;
}

/** What the session needs of the world. */
export interface SessionWorld extends HeartbeatWorld {
  /** Renews the sign-in after a refusal; rejects where it is over. */
  renew(): Promise<unknown>;
  /** Another transport where nothing ever came up through this one, or null. */
  fallback(failed: SessionTransport): SessionTransport | null;
}

/** A session whose page went away, as far as another page needs it to go on. */
export interface LeftSession {
  readonly conversationId: string;
  readonly handle: string;
  readonly transport: TransportName;
  readonly affinity: string;
  /** The last number that the learner's side used. */
  readonly seq: bigint;
  /** The last message of the server's that was handled. */
  readonly lastSeq: bigint;
}

type Message = NonNullable<MessageInitShape<typeof ConverseRequestSchema>["message"]>;

/** A live session. `open` once; then send; `close` to leave without a word. */
export class LiveSession {
  #link: Link | null = null;
  #connected = false;
  #everStarted = false;
  /** A ping of ours was answered: what is sent over this transport arrives. */
  #proved = false;
  #cancelProof: (() => void) | null = null;
  #tries = 1;
  #over = false;
  #renewed = false;
  #seq = 0n;
  #lastSeq = 0n;
  #handle = "";
  #conversationId = "";
  /** The last number that may have left while the connection stood. */
  #sentSeq = 0n;
  /** Given up before it began: ended as soon as it has. */
  #leaving = false;
  /** Which process holds the session: tried first, forgotten when it does not answer. */
  #affinity = "";
  #heard: Heard | null = null;
  #settings: ChangeSettings = create(ChangeSettingsSchema);
  #lostAt: number | null = null;
  #pauseMs = FIRST_PAUSE_MS;
  #cancelTimer: (() => void) | null = null;
  readonly #backlog: Backlog;
  readonly #heartbeat: Heartbeat;

  constructor(
    private transport: SessionTransport,
    private readonly start: StartSession,
    private readonly events: SessionEvents,
    private readonly world: SessionWorld,
  ) {
    this.#backlog = new Backlog(start.inputFormat?.sampleRateHz ?? 16_000);
    this.#heartbeat = new Heartbeat(
      world,
      (nonce) => this.#post({ case: "ping", value: { nonce } }),
      () => {
        this.#dropLink();
        this.#ended(refusal(Code.Unavailable, "no answer to pings"));
      },
    );
  }

  /** How many messages have not left yet. */
  get queued(): number {
    return this.#link?.queued ?? 0;
  }

  /** The transport in use. */
  get transportName(): SessionTransport["name"] {
    return this.transport.name;
  }

  /** How much audio a message should carry. */
  get frameMs(): number {
    return this.transport.frameMs;
  }

  /** The shortest round trip of the last ones, in milliseconds; null before the first. */
  get roundTripMs(): number | null {
    return this.#heartbeat.roundTripMs;
  }

  /** Opens it. `started` follows, or the end. */
  open(): void {
    this.#connect();
  }

  /**
   * Goes on with a session that another page held, instead of `open`.
   *
   * `started` follows, then everything that the server still knows to have said, from the beginning.
   */
  goOn(left: LeftSession): void {
    this.#everStarted = true;
    this.#lostAt = this.world.now();
    this.#handle = left.handle;
    this.#conversationId = left.conversationId;
    this.#affinity = left.transport === this.transport.name ? left.affinity : "";
    this.#seq = left.seq;
    this.#connect();
  }

  /** Sends 1 to 200 ms of the microphone, int16 mono at the rate of `start`. */
  sendAudio(pcm: Uint8Array, firstSample: number): void {
    this.#post({ case: "audio", value: { pcm, firstSample: BigInt(firstSample) } });
  }

  /** Sends a typed utterance. */
  sendText(text: string): void {
    this.#post({ case: "text", value: { text } });
  }

  /** Reports how much of a reply has been played. */
  sendHeard(generation: number, audioMs: number, playDelayMs?: number): void {
    const older = this.#heard;
    const delay =
      playDelayMs ?? (older?.generation === BigInt(generation) ? older.playDelayMs : undefined);
    this.#heard = create(HeardSchema, {
      generation: BigInt(generation),
      audioMs: Math.max(0, Math.round(audioMs)),
      ...(delay !== undefined && { playDelayMs: delay }),
    });
    if (this.#connected) this.#post({ case: "heard", value: this.#heard });
  }

  /** Stops a reply. */
  interrupt(generation: number, heardMs: number): void {
    this.#post({
      case: "interrupt",
      value: { generation: BigInt(generation), heardMs: Math.max(0, Math.round(heardMs)) },
    });
  }

  /** Ends the utterance without waiting for silence. */
  endTurn(): void {
    this.#post({ case: "endTurn", value: {} });
  }

  /** Changes the live session. A new connection is told of all changes first. */
  changeSettings(change: MessageInitShape<typeof ChangeSettingsSchema>): void {
    this.#settings = create(ChangeSettingsSchema, {
      ...this.#settings,
      ...change,
    } as typeof change);
    if (this.#connected)
      this.#post({ case: "settings", value: create(ChangeSettingsSchema, change) });
  }

  /** Asks for the end; `ended` follows. */
  finish(): void {
    this.#post({ case: "finish", value: {} });
  }

  /** Tries at once where a connection is being waited for: the network is said to be back. */
  hurry(): void {
    if (this.#connected || this.#over || !this.#cancelTimer || this.#link) return;
    this.#cancelTimer();
    this.#connect();
  }

  /**
   * Ends it at once, since the page goes away or nobody waits for it any more. No event follows.
   *
   * One that is only being opened is ended when the server says that it has begun.
   */
  leave(): void {
    if (this.#over) return;
    this.#over = true;
    if (!this.#everStarted && this.#link) this.#leaving = true;
    else this.#sayFarewell();
  }

  #sayFarewell(): void {
    const place = { conversationId: this.#conversationId, affinity: this.#affinity };
    this.#link?.leave();
    this.#link = null;
    const seq = this.#connected || !this.#everStarted ? this.#seq : this.#sentSeq;
    if (place.conversationId) this.transport.farewell?.(place, seq + 1n);
    this.#stop();
  }

  /**
   * Drops the connection since the page goes away, and leaves the session open: returns what the next
   * page goes on with, or null where there is nothing to go on with. No event follows.
   */
  depart(): LeftSession | null {
    if (this.#over) return null;
    this.#over = true;
    this.#stop();
    if (!this.#handle) return null;
    return {
      conversationId: this.#conversationId,
      handle: this.#handle,
      transport: this.transport.name,
      affinity: this.#affinity,
      seq: this.#seq,
      lastSeq: this.#lastSeq,
    };
  }

  /** Leaves without a word; after `leave`, does nothing. No event follows. */
  close(): void {
    if (this.#over) return;
    this.#over = true;
    this.#stop();
  }

  // --- sending ---------------------------------------------------------------------------------

  #post(message: Message): void {
    if (this.#over) return;
    const request = this.#number(message);
    this.#backlog.add(request);
    if (this.#connected) this.#link?.send(request);
  }

  #number(message: Message): ConverseRequest {
    this.#seq += 1n;
    return create(ConverseRequestSchema, {
      seq: this.#seq,
      clientTime: timestampFromMs(Date.now()),
      message,
    });
  }

  // --- connecting ------------------------------------------------------------------------------

  #connect(): void {
    this.#cancelTimer = null;
    const start = create(StartSessionSchema, this.start);
    if (this.#handle) {
      start.resumeHandle = this.#handle;
      start.lastSeq = this.#lastSeq;
      if (this.#heard) start.heard = this.#heard;
    }
    const numbered = this.transport.countsStart || this.#handle !== "";
    if (numbered) this.#seq += 1n;
    const count = {
      seq: numbered ? this.#seq : 0n,
      firstSeq: this.#handle ? this.#backlog.firstSeq : 0n,
      affinity: this.#handle ? this.#affinity : "",
    };
    let current: Link | null = null;
    current = this.transport.open(start, count, {
      onResponse: (response) => {
        if (this.#link === current) this.#receive(response);
      },
      onEnd: (refused) => {
        if (this.#link === current) this.#ended(refused);
      },
    });
    this.#link = current;
    this.#cancelTimer = this.world.after(OPEN_WITHIN_MS, () => {
      // Waited for long enough.
      this.#tries = OPEN_TRIES;
      this.#dropLink();
      this.#ended(refusal(Code.Unavailable, "no answer"));
    });
  }

  #receive(response: ConverseResponse): void {
    this.#heartbeat.heard();
    const { message, seq } = response;
    if (message.case === "started" && !this.#connected) {
      this.#conversationId = message.value.conversationId;
      if (this.#leaving) {
        this.#affinity = this.#link?.affinity ?? "";
        return this.#sayFarewell();
      }
      this.#started(message.value.nextSample, message.value.resumeHandle);
      this.#lastSeq = message.value.resumed || seq < this.#lastSeq ? this.#lastSeq : seq;
      this.events.onResponse(response);
      return;
    }
    if (seq !== 0n) {
      if (seq <= this.#lastSeq) return;
      this.#lastSeq = seq;
    }
    // The one that began the session, told again with all the rest.
    if (message.case === "started") return;
    if (message.case === "resumeHandle") this.#handle = message.value.handle;
    else if (message.case === "pong") this.#pong(message.value.nonce);
    else if (message.case === "notice" && message.value.fatal) this.#handle = "";
    this.events.onResponse(response);
    if (message.case === "ended") this.#finish(null);
  }

  #started(nextSample: bigint, handle: string): void {
    this.#cancelTimer?.();
    this.#cancelTimer = null;
    const returned = this.#lostAt !== null;
    this.#everStarted = true;
    this.#renewed = false;
    this.#connected = true;
    this.#lostAt = null;
    this.#pauseMs = FIRST_PAUSE_MS;
    if (handle) this.#handle = handle;
    this.#affinity = this.#link?.affinity ?? "";
    // Also of a new session: what was typed while it was being opened has had its number by then.
    for (const request of this.#backlog.again(Number(nextSample))) this.#link?.send(request);
    if (returned) {
      this.#link?.send(this.#number({ case: "settings", value: this.#settings }));
      this.events.onConnection(true);
    }
    this.#heartbeat.begin();
    if (!this.#proved) {
      this.#cancelProof = this.world.after(PROVED_WITHIN_MS, () => this.#unproved());
    }
  }

  #pong(nonce: bigint): void {
    this.#heartbeat.pong(nonce);
    // Those of nonce 0 come unasked.
    if (nonce === 0n) return;
    this.#proved = true;
    this.#cancelProof?.();
  }

  /** The session has begun, and nothing that was sent to it seems to have arrived. */
  #unproved(): void {
    const other = this.world.fallback(this.transport);
    if (!other) return;
    this.transport = other;
    this.#dropLink();
    this.#ended(refusal(Code.Unavailable, "nothing that was sent arrived"));
  }

  #ended(refused: Refusal | null): void {
    if (this.#leaving) return this.#stop();
    const wasConnected = this.#connected;
    this.#link = null;
    this.#connected = false;
    if (wasConnected) this.#sentSeq = this.#seq;
    this.#cancelTimer?.();
    this.#cancelTimer = null;
    this.#cancelProof?.();
    this.#heartbeat.stop();
    const why = refused ?? refusal(Code.Unavailable, "the stream ended");
    this.#affinity = this.#whereNext(why, wasConnected);
    if (why.code === Code.Unauthenticated && !this.#renewed) {
      this.#renewed = true;
      this.world.renew().then(
        () => {
          if (!this.#over) this.#connect();
        },
        () => this.#finish(why),
      );
      return;
    }
    if (!this.#everStarted) return this.#tryAgain(why);
    if (!this.#handle || !(connectionLost(why) || retryable(why))) return this.#finish(why);
    if (wasConnected && !this.#proved && connectionLost(why)) {
      this.transport = this.world.fallback(this.transport) ?? this.transport;
    }
    this.#comeBack(why);
  }

  /** Where to look for the session next: where it was, unless that place said otherwise. */
  #whereNext({ reason, metadata }: Refusal, wasConnected: boolean): string {
    if (reason === "SESSION_ELSEWHERE") {
      const named = this.transport.name === "websocket" ? "websocket_affinity" : "affinity";
      return metadata[named] ?? "";
    }
    return wasConnected && reason !== "SERVICE_STOPPING" ? this.#affinity : "";
  }

  /** A first connection that was never accepted is tried again; any other refusal stands. */
  #tryAgain(why: Refusal): void {
    const away = connectionLost(why) || (why.code === Code.Unavailable && retryable(why));
    if (!away || this.#tries >= OPEN_TRIES) return this.#finish(why);
    const pause = Math.max(FIRST_OPEN_PAUSE_MS * this.#tries, why.retryAfterMs ?? 0);
    this.#tries += 1;
    this.#cancelTimer = this.world.after(Math.min(pause, LONGEST_PAUSE_MS), () => this.#connect());
  }

  #comeBack(why: Refusal): void {
    const now = this.world.now();
    if (this.#lostAt === null) {
      this.#lostAt = now;
      this.events.onConnection(false);
      if (this.#over) return;
    }
    const pause = Math.min(Math.max(this.#pauseMs, why.retryAfterMs ?? 0), LONGEST_PAUSE_MS);
    if (now + pause > this.#lostAt + RECONNECT_FOR_MS) {
      const lost = connectionLost(why)
        ? refusal(Code.Unavailable, why.message, "CONNECTION_LOST")
        : why;
      return this.#finish(lost);
    }
    this.#pauseMs = Math.min(this.#pauseMs * 2, LONGEST_PAUSE_MS);
    this.#cancelTimer = this.world.after(pause, () => this.#connect());
  }

  // --- ending ----------------------------------------------------------------------------------

  #dropLink(): void {
    const link = this.#link;
    this.#link = null;
    link?.abort();
  }

  #stop(): void {
    this.#connected = false;
    this.#cancelTimer?.();
    this.#cancelProof?.();
    this.#heartbeat.stop();
    this.#dropLink();
  }

  #finish(refused: Refusal | null): void {
    if (this.#over) return;
    this.#over = true;
    if (!refused) {
      this.#link?.close();
      this.#link = null;
    }
    this.#stop();
    this.events.onEnd(refused);
  }
}
