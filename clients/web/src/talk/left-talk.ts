/**
 * The talk whose page went away: reloaded by accident, or closed. Another page goes on with it.
 *
 * What is kept of it has no word that was said; the server tells those again, to its learner alone.
 */

import { keep, keptJson } from "@/device/kept";
import type { LeftSession } from "@/transports/bearings";

// Not of the tab alone: who closed it by accident opens another.
const KEY = "parley.left-talk";
// Opening the page and the session takes a while as well.
const MARGIN_S = 5;
// Later nobody wonders any more what became of it.
const TOLD_FOR_MS = 3_600_000;

/** What is kept of a talk. */
export interface LeftTalk extends LeftSession {
  /** The reply that had not been played to its end, which is said again; 0 where there was none. */
  readonly unheard: number;
  readonly typedOnly: boolean;
  /** When it began and until when it can be gone on with, on `Date.now`'s clock. */
  readonly began: number;
  readonly until: number;
}

/** Until when a talk can be gone on with that is left now; `resumeS` is the server's limit. */
export function openUntil(resumeS: number, now = Date.now()): number {
  return now + Math.max(0, resumeS - MARGIN_S) * 1000;
}

/** Keeps it for the next page. */
export function rememberLeft(left: LeftTalk): void {
  const { seq, lastSeq } = left;
  keep(KEY, JSON.stringify({ ...left, seq: String(seq), lastSeq: String(lastSeq) }));
}

/** Returns the talk that was left lately; null where there was none. */
export function leftTalk(now = Date.now()): LeftTalk | null {
  const left = parseLeft(keptJson(KEY));
  return left && now < left.until + TOLD_FOR_MS ? left : null;
}

/** Whether the server still waits for its learner. */
export function canGoOn(left: LeftTalk | null, now = Date.now()): left is LeftTalk {
  return left !== null && now < left.until;
}

/** It goes on, it has been told, or it is nobody's business any more. */
export function forgetLeft(): void {
  keep(KEY, null);
}

/** Reads what was kept, as JSON has it; null where it is not whole. */
export function parseLeft(left: unknown): LeftTalk | null {
  if (typeof left !== "object" || left === null) return null;
  const { conversationId, handle, affinity, transport, seq, lastSeq, ...more } = left as Partial<
    Record<keyof LeftTalk, unknown>
  >;
  const { unheard, typedOnly, began, until } = more;
  const ways: unknown[] = ["upload", "push", "websocket"];
  const whole =
    [conversationId, handle, affinity].every((one) => typeof one === "string") &&
    [seq, lastSeq].every((one) => typeof one === "string" && /^\d+$/.test(one)) &&
    [unheard, began, until].every((one) => typeof one === "number") &&
    ways.includes(transport);
  if (!whole) return null;
  return {
    ...(left as LeftTalk),
    typedOnly: typedOnly === true,
    seq: BigInt(seq as string),
    lastSeq: BigInt(lastSeq as string),
  };
}
