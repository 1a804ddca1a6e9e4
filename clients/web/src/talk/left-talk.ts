/**
 * The talk whose page went away: reloaded by accident, or closed. Another page goes on with it.
 *
 * What is kept of it has no word that was said; the server tells those again, to its learner alone.
 */

import type { LeftSession } from "@/transports/session";

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
  storage()?.setItem(KEY, JSON.stringify({ ...left, seq: String(seq), lastSeq: String(lastSeq) }));
}

/** Returns the talk that was left lately; null where there was none. */
export function leftTalk(now = Date.now()): LeftTalk | null {
  const left = parseLeft(storage()?.getItem(KEY) ?? null);
  return left && now < left.until + TOLD_FOR_MS ? left : null;
}

/** Whether the server still waits for its learner. */
export function canGoOn(left: LeftTalk | null, now = Date.now()): left is LeftTalk {
  return left !== null && now < left.until;
}

/** It goes on, it has been told, or it is nobody's business any more. */
export function forgetLeft(): void {
  storage()?.removeItem(KEY);
}

/** Reads what was kept; null where it is not whole. */
export function parseLeft(text: string | null): LeftTalk | null {
  try {
    const kept = JSON.parse(text ?? "null") as Record<keyof LeftTalk, unknown> | null;
    if (!kept) return null;
    const { conversationId, handle, affinity, transport, seq, lastSeq } = kept;
    const { unheard, typedOnly, began, until } = kept;
    const ways: unknown[] = ["upload", "push", "websocket"];
    const whole =
      [conversationId, handle, affinity, seq, lastSeq].every((one) => typeof one === "string") &&
      [unheard, began, until].every((one) => typeof one === "number") &&
      ways.includes(transport);
    if (!whole) return null;
    return {
      ...(kept as LeftTalk),
      typedOnly: typedOnly === true,
      seq: BigInt(seq as string),
      lastSeq: BigInt(lastSeq as string),
    };
  } catch {
    return null;
  }
}

// Not of the tab alone: who closed it by accident opens another.
function storage(): Storage | null {
  try {
    return globalThis.localStorage;
  } catch {
    return null;
  }
}
