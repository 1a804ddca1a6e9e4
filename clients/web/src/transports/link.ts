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
  /** Where the session is held; empty while that is not known. */
  readonly affinity: string;
  /** The session is over: closes this side in good order. No event follows. */
  close(): void;
  /** Drops the connection without a word. No event follows. */
  abort(): void;
  /** The page goes away: ends the session by this connection where it can, and drops it. */
  leave(): void;
}

/** Where a session is, known from the first response. */
export interface Place {
  readonly conversationId: string;
  readonly affinity: string;
}

/** Where a connection stands in the client's count of its messages. */
export interface Count {
  /** The number of `start`; 0: the count begins with the next message, at 1. */
  readonly seq: bigint;
  /** The lowest number that will be sent again; 0: none will. */
  readonly firstSeq: bigint;
  /** Where the session is held, as the server said it; empty: not known, or to be forgotten. */
  readonly affinity?: string;
}

/** How long the end of a stream is waited for once the session has said that it is over. */
export const CLOSE_WITHIN_MS = 1_000;

// The server stores the last turns within 3 s, says so, and then ends the subscription.
const LAST_WORDS_WITHIN_MS = 5_000;

const OVER = new Set(["SERVICE_STOPPING", "NO_LIVE_SESSION", "CONVERSATION_ENDED"]);

/**
 * Ends a link whose learner's side was refused: at once, unless the refusal says only that the
 * session is over. Then the subscription still has the last responses, and tells how it ended.
 */
export function afterLastWords(refused: Refusal, end: (refused: Refusal) => void): void {
  if (OVER.has(refused.reason)) setTimeout(() => end(refused), LAST_WORDS_WITHIN_MS);
  else end(refused);
}

/** One way of holding a session. */
export interface SessionTransport {
  readonly name: TransportName;
  /** How much audio a message should carry, in milliseconds. */
  readonly frameMs: 20 | 40;
  /** Whether `start` is the client's first message, with a number, also of a new session. */
  readonly countsStart: boolean;
  /** Opens or resumes a session. */
  open(start: StartSession, count: Count, events: LinkEvents): Link;
  /** Ends a session apart from any connection, in a call that outlives the page; see `farewell`. */
  readonly farewell?: (place: Place, seq: bigint) => void;
}
