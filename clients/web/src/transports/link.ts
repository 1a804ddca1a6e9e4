/** What every way of holding a live session has in common. */

import type {
  ConverseRequest,
  ConverseResponse,
  StartSession,
} from "@parley/stubs/parley/conversation/v1/conversation_pb";

import type { Refusal } from "@/rpc/refusal";

/** The ways, as the diagnostics panel and the learner's choice name them. */
export type TransportName = "upload" | "push" | "websocket";

/** What a link tells. Nothing comes after `onEnd`. */
export interface LinkEvents {
  onResponse(response: ConverseResponse): void;
  /** It is over: refused, broken (a refusal without a reason), or closed in good order (null). */
  onEnd(refusal: Refusal | null): void;
}

/** One connection to a session; when it is over, a new one resumes. */
export interface Link {
  /**
   * Sends a message; never waits. Before `started` has come nothing may be sent.
   *
   * What cannot leave yet is queued; the session bounds that by what it keeps for sending again.
   */
  send(request: ConverseRequest): void;
  /** How many messages have not left yet. */
  readonly queued: number;
  /** Drops the connection without a word. No event follows. */
  abort(): void;
}

/** One way of holding a session. */
export interface SessionTransport {
  readonly name: TransportName;
  /** How much audio a message should carry, in milliseconds. */
  readonly frameMs: 20 | 40;
  /** Opens or resumes a session. `seq` is the number of `start`, where it travels as a message. */
  open(start: StartSession, seq: bigint, events: LinkEvents): Link;
}
