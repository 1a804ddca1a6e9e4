/**
 * What this browser keeps for the page, beyond the tab.
 *
 * Where it keeps nothing (storage forbidden, or full) everything works as long as the page: reading
 * finds nothing and writing does nothing. Never a token, and never a word of what was said.
 */

/** Returns what is kept under `key`; null where nothing is. */
export function kept(key: string): string | null {
  return attempt(() => localStorage.getItem(key)) ?? null;
}

/** Keeps `text` under `key`; null keeps nothing there any more. */
export function keep(key: string, text: string | null): void {
  attempt(() => {
    if (text === null) localStorage.removeItem(key);
    else localStorage.setItem(key, text);
  });
}

/** Returns what JSON is kept under `key`; undefined where none is, or it is none. */
export function keptJson(key: string): unknown {
  return attempt(() => JSON.parse(kept(key) ?? "") as unknown);
}

// Reading the global throws where cookies and storage are forbidden; writing, where storage is full.
function attempt<T>(work: () => T): T | undefined {
  try {
    return work();
  } catch {
    return undefined;
  }
}
