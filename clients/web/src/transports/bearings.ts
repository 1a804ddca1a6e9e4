/**
 * Where one session is and how far it has got: what it takes to come back to it. Pure.
 *
 * The server tells everything again that a connection may have missed; each message counts once.
 */

import type {
  ConverseResponse,
  SessionStarted,
  StartSession,
} from "@parley/stubs/parley/conversation/v1/conversation_pb";

import type { Refusal } from "@/rpc/refusal";

import type { Place, TransportName } from "./link";

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

/** What is known of one session. */
export class Bearings {
  #conversationId = "";
  #handle = "";
  /** Which process holds the session: tried first, forgotten when it does not answer. */
  #affinity = "";
  #lastSeq = 0n;

  /** Whether the server has told how to come back. */
  get resumable(): boolean {
    return this.#handle !== "";
  }

  /** Where the session is; without an id before it has begun. */
  get place(): Place {
    return { conversationId: this.#conversationId, affinity: this.#affinity };
  }

  /** Takes over from another page. Nothing was told to this one yet. */
  takeOver({ conversationId, handle, transport, affinity }: LeftSession, way: TransportName): void {
    this.#conversationId = conversationId;
    this.#handle = handle;
    this.#affinity = transport === way ? affinity : "";
  }

  /** Returns what another page needs, or null where the server would not have it back. */
  handOver(transport: TransportName, seq: bigint): LeftSession | null {
    if (!this.resumable) return null;
    return { ...this.place, handle: this.#handle, transport, seq, lastSeq: this.#lastSeq };
  }

  /** Has `start` come back to the session, where there is one to come back to. */
  direct(start: StartSession): void {
    if (!this.resumable) return;
    start.resumeHandle = this.#handle;
    start.lastSeq = this.#lastSeq;
  }

  /** A connection stands: `started` came with `seq`. */
  arrived(
    { conversationId, resumeHandle, resumed }: SessionStarted,
    seq: bigint,
    affinity: string,
  ): void {
    this.#conversationId = conversationId;
    this.#affinity = affinity;
    if (resumeHandle) this.#handle = resumeHandle;
    // What was sent before this one of a resumed session follows it, with the older numbers.
    if (!resumed && seq > this.#lastSeq) this.#lastSeq = seq;
  }

  /** Whether a message is news. What it says of coming back is kept. */
  isNews({ seq, message }: ConverseResponse): boolean {
    if (seq !== 0n) {
      if (seq <= this.#lastSeq) return false;
      this.#lastSeq = seq;
    }
    // The one that began the session, told again with all the rest.
    if (message.case === "started") return false;
    if (message.case === "resumeHandle") this.#handle = message.value.handle;
    if (message.case === "notice" && message.value.fatal) this.#handle = "";
    return true;
  }

  /** Where to look next: where it was if the connection `stood`, unless that place said otherwise. */
  lost({ reason, metadata }: Refusal, stood: boolean, way: TransportName): void {
    if (reason === "SESSION_ELSEWHERE") {
      this.#affinity = metadata[way === "websocket" ? "websocket_affinity" : "affinity"] ?? "";
    } else if (!stood || reason === "SERVICE_STOPPING") {
      this.#affinity = "";
    }
  }
}
