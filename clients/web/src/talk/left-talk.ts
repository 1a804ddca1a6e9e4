/** The talk that ended because its page went away: the page that is loaded next says so. */

const KEY = "parley.left-talk";

/** Keeps which conversation it was, for this tab. */
export function rememberLeft(conversationId: string): void {
  storage()?.setItem(KEY, conversationId);
}

/** Returns which conversation it was; empty where there was none. */
export function leftTalk(): string {
  return storage()?.getItem(KEY) ?? "";
}

/** It has been told, or is nobody's business any more. */
export function forgetLeft(): void {
  storage()?.removeItem(KEY);
}

function storage(): Storage | null {
  try {
    return globalThis.sessionStorage;
  } catch {
    return null;
  }
}
