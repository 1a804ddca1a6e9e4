/**
 * Whether and when a session without a connection tries again, and when it is over. Pure.
 *
 * One that was never let in knocks a few times, where nobody was there; any other refusal stands. One
 * that has begun is gone after for `RECONNECT_FOR_MS`, more and more slowly.
 */

import { Code } from "@connectrpc/connect";

import { type Refusal, connectionLost, refusal, retryable } from "@/rpc/refusal";

// A network that drops for 30 s is survived: the tries lie up to 3 s apart.
export const RECONNECT_FOR_MS = 35_000;
const FIRST_PAUSE_MS = 250;
const LONGEST_PAUSE_MS = 3_000;
// A server that is being replaced is back, or another takes its place, within about two seconds.
const OPEN_TRIES = 3;
const FIRST_OPEN_PAUSE_MS = 500;

/** What follows the end of a connection, or of a try to make one. */
export type Next =
  /** Try again after a pause. `lost`: a connection that stood was lost just now. */
  | { readonly kind: "wait"; readonly ms: number; readonly lost: boolean }
  /** Renew the sign-in, then try again at once. */
  | { readonly kind: "renew" }
  | { readonly kind: "over"; readonly why: Refusal };

/** The tries of one session. */
export class Retries {
  #begun = false;
  #renewed = false;
  #opened = 1;
  /** Since when there is no connection; null while there is one, and before the first. */
  #lostAt: number | null = null;
  #pauseMs = FIRST_PAUSE_MS;

  /** Whether the session has begun: it is gone after from then on. */
  get begun(): boolean {
    return this.#begun;
  }

  /** The session was begun by another page, and has no connection since `now`. */
  begunElsewhere(now: number): void {
    this.#begun = true;
    this.#lostAt = now;
  }

  /** A connection stands. Returns whether one had been lost before. */
  connected(): boolean {
    const returned = this.#lostAt !== null;
    this.#begun = true;
    this.#renewed = false;
    this.#lostAt = null;
    this.#pauseMs = FIRST_PAUSE_MS;
    return returned;
  }

  /** A try had no answer at all: a session that never began has waited for long enough. */
  unanswered(): void {
    this.#opened = OPEN_TRIES;
  }

  /** Decides after a refusal. `resumable`: the server told how to come back. */
  after(why: Refusal, resumable: boolean, now: number): Next {
    if (why.code === Code.Unauthenticated && !this.#renewed) {
      this.#renewed = true;
      return { kind: "renew" };
    }
    if (!this.#begun) return this.#knockAgain(why);
    const passing = connectionLost(why) || retryable(why);
    return resumable && passing ? this.#comeBack(why, now) : { kind: "over", why };
  }

  #knockAgain(why: Refusal): Next {
    const away = connectionLost(why) || (why.code === Code.Unavailable && retryable(why));
    if (!away || this.#opened >= OPEN_TRIES) return { kind: "over", why };
    const pause = Math.max(FIRST_OPEN_PAUSE_MS * this.#opened, why.retryAfterMs ?? 0);
    this.#opened += 1;
    return { kind: "wait", ms: Math.min(pause, LONGEST_PAUSE_MS), lost: false };
  }

  #comeBack(why: Refusal, now: number): Next {
    const lost = this.#lostAt === null;
    this.#lostAt ??= now;
    const ms = Math.min(Math.max(this.#pauseMs, why.retryAfterMs ?? 0), LONGEST_PAUSE_MS);
    if (now + ms > this.#lostAt + RECONNECT_FOR_MS) {
      const named = refusal(Code.Unavailable, why.message, "CONNECTION_LOST");
      return { kind: "over", why: connectionLost(why) ? named : why };
    }
    this.#pauseMs = Math.min(this.#pauseMs * 2, LONGEST_PAUSE_MS);
    return { kind: "wait", ms, lost };
  }
}
