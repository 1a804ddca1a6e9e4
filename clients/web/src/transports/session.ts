/**
 * One live session that survives its connections.
 *
 * A connection that breaks is made again with the resume handle (`retries` says when, and for how
 * long): what the server said meanwhile comes again, once; what the learner said and did
 * (`learners-side`) is sent then. Knows no browser: the transport and the clock are given.
 */

import { type MessageInitShape, create } from "@bufbuild/protobuf";
import { Code } from "@connectrpc/connect";
import {
  type ChangeSettingsSchema,
  type ConverseResponse,
  type SessionStarted,
  type StartSession,
  StartSessionSchema,
} from "@parley/stubs/parley/conversation/v1/conversation_pb";

import { type Refusal, connectionLost, refusal } from "@/rpc/refusal";

import { Bearings, type LeftSession } from "./bearings";
import { Heartbeat, type HeartbeatWorld } from "./heartbeat";
import { LearnersSide, type Message } from "./learners-side";
import type { Link, SessionTransport } from "./link";
import { Retries } from "./retries";

// Opening includes loading a model's session; a gateway answers a dead server at once. One that goes
// on is there, or soon loaded: a try that is not answered went where nothing is carried.
const OPEN_WITHIN_MS = 20_000;
const RESUME_WITHIN_MS = 5_000;

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

/** A live session. `open` once; then send; `close` to leave without a word. */
export class LiveSession {
  #link: Link | null = null;
  #connected = false;
  #over = false;
  /** Given up before it began: ended as soon as it has. */
  #leaving = false;
  /** Of the connection that is awaited, or of the pause before it. */
  #cancelTimer: (() => void) | null = null;
  readonly #learner: LearnersSide;
  readonly #bearings = new Bearings();
  readonly #retries = new Retries();
  readonly #heartbeat: Heartbeat;

  constructor(
    private transport: SessionTransport,
    private readonly start: StartSession,
    private readonly events: SessionEvents,
    private readonly world: SessionWorld,
  ) {
    this.#learner = new LearnersSide(start.inputFormat?.sampleRateHz ?? 16_000);
    this.#heartbeat = new Heartbeat(world, {
      ping: (nonce) => this.#learner.post({ case: "ping", value: { nonce } }),
      lost: () => this.#breakOff("no answer to pings"),
      unproved: () => this.#leaveWay(),
    });
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

  /** The shortest of the last round trips, in milliseconds; null before the first. */
  get roundTripMs(): number | null {
    return this.#heartbeat.roundTripMs;
  }

  // --- beginning -------------------------------------------------------------------------------

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
    this.#retries.begunElsewhere(this.world.now());
    this.#bearings.takeOver(left, this.transport.name);
    this.#learner.countFrom(left.seq);
    this.#connect();
  }

  // --- what the learner says and does: sent now, or by the next connection ----------------------

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
    if (!this.#over) this.#learner.postHeard(BigInt(generation), whole(audioMs), playDelayMs);
  }

  /** Stops a reply. */
  interrupt(generation: number, heardMs: number): void {
    const value = { generation: BigInt(generation), heardMs: whole(heardMs) };
    this.#post({ case: "interrupt", value });
  }

  /** Ends the utterance without waiting for silence. */
  endTurn(): void {
    this.#post({ case: "endTurn", value: {} });
  }

  /** Changes the live session. A new connection is told of all changes first. */
  changeSettings(change: MessageInitShape<typeof ChangeSettingsSchema>): void {
    if (!this.#over) this.#learner.postSettings(change);
  }

  /** Asks for the end; `ended` follows. */
  finish(): void {
    this.#post({ case: "finish", value: {} });
  }

  #post(message: Message): void {
    if (!this.#over) this.#learner.post(message);
  }

  /** Tries at once where a connection is being waited for: the network is said to be back. */
  hurry(): void {
    if (this.#connected || this.#over || !this.#cancelTimer || this.#link) return;
    this.#cancelTimer();
    this.#connect();
  }

  // --- leaving ---------------------------------------------------------------------------------

  /**
   * Ends it at once, since the page goes away or nobody waits for it any more. No event follows.
   *
   * One that is only being opened is ended when the server says that it has begun.
   */
  leave(): void {
    if (this.#over) return;
    this.#over = true;
    if (!this.#retries.begun && this.#link) this.#leaving = true;
    else this.#sayFarewell();
  }

  /**
   * Drops the connection since the page goes away, and leaves the session open: returns what the next
   * page goes on with, or null where there is nothing to go on with. No event follows.
   */
  depart(): LeftSession | null {
    if (this.#over) return null;
    this.#over = true;
    this.#stop();
    return this.#bearings.handOver(this.transport.name, this.#learner.seq);
  }

  /** Leaves without a word; after `leave`, does nothing. No event follows. */
  close(): void {
    if (this.#over) return;
    this.#over = true;
    this.#stop();
  }

  #sayFarewell(): void {
    const { place } = this.#bearings;
    this.#link?.leave();
    this.#link = null;
    if (place.conversationId) this.transport.farewell?.(place, this.#learner.leftSeq + 1n);
    this.#stop();
  }

  // --- connecting ------------------------------------------------------------------------------

  #connect(): void {
    this.#cancelTimer = null;
    const resuming = this.#bearings.resumable;
    const start = create(StartSessionSchema, this.start);
    this.#bearings.direct(start);
    if (resuming && this.#learner.heard) start.heard = this.#learner.heard;
    const numbered = this.transport.countsStart || resuming;
    const count = {
      seq: numbered ? this.#learner.takeNumber() : 0n,
      firstSeq: resuming ? this.#learner.firstSeq : 0n,
      affinity: resuming ? this.#bearings.place.affinity : "",
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
    this.#cancelTimer = this.world.after(resuming ? RESUME_WITHIN_MS : OPEN_WITHIN_MS, () => {
      this.#retries.unanswered();
      this.#breakOff("no answer");
    });
  }

  #started(link: Link, started: SessionStarted, seq: bigint): void {
    const resumed = this.#bearings.resumable;
    this.#bearings.arrived(started, seq, link.affinity);
    if (this.#leaving) return this.#sayFarewell();
    this.#cancelTimer?.();
    this.#cancelTimer = null;
    this.#connected = true;
    // Also of a new session: what was typed while it was being opened has had its number by then.
    this.#learner.begin(link, Number(started.nextSample), resumed);
    if (this.#retries.connected()) this.events.onConnection(true);
    if (!this.#over) this.#heartbeat.begin();
  }

  #ended(refused: Refusal | null): void {
    if (this.#leaving) return this.#stop();
    const stood = this.#connected;
    this.#disconnected();
    const why = refused ?? refusal(Code.Unavailable, "the stream ended");
    this.#bearings.lost(why, stood, this.transport.name);
    const next = this.#retries.after(why, this.#bearings.resumable, this.world.now());
    switch (next.kind) {
      case "over":
        return this.#finish(next.why);
      case "renew":
        return this.#renew(why);
      case "wait":
        // A way over which nothing ever came through is not tried twice.
        if (stood && !this.#heartbeat.proved && connectionLost(why)) {
          this.transport = this.world.fallback(this.transport) ?? this.transport;
        }
        this.#cancelTimer = this.world.after(next.ms, () => this.#connect());
        if (next.lost) this.events.onConnection(false);
    }
  }

  #renew(why: Refusal): void {
    this.world.renew().then(
      () => {
        if (!this.#over) this.#connect();
      },
      () => this.#finish(why),
    );
  }

  /** The session has begun, and nothing that was sent to it seems to have arrived. */
  #leaveWay(): void {
    const other = this.world.fallback(this.transport);
    if (!other) return;
    this.transport = other;
    this.#breakOff("nothing that was sent arrived");
  }

  // --- what the server says --------------------------------------------------------------------

  #receive(response: ConverseResponse): void {
    this.#heartbeat.heard();
    const { message } = response;
    if (message.case === "started" && !this.#connected && this.#link) {
      this.#started(this.#link, message.value, response.seq);
      if (!this.#over) this.events.onResponse(response);
      return;
    }
    if (!this.#bearings.isNews(response)) return;
    if (message.case === "pong") this.#heartbeat.pong(message.value.nonce);
    this.events.onResponse(response);
    if (message.case === "ended") this.#finish(null);
  }

  // --- ending ----------------------------------------------------------------------------------

  /** Drops the connection as one that broke. */
  #breakOff(why: string): void {
    this.#dropLink();
    this.#ended(refusal(Code.Unavailable, why));
  }

  #dropLink(): void {
    const link = this.#link;
    this.#link = null;
    link?.abort();
  }

  #disconnected(): void {
    this.#link = null;
    this.#connected = false;
    this.#learner.end();
    this.#cancelTimer?.();
    this.#cancelTimer = null;
    this.#heartbeat.stop();
  }

  #stop(): void {
    this.#dropLink();
    this.#disconnected();
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

/** Milliseconds as the contract has them. */
function whole(ms: number): number {
  return Math.max(0, Math.round(ms));
}
