/** A list that comes page by page, each page saying where the next begins. Pure. */

import type { Problem } from "@/rpc/problem";

/** One page as a service gives it; an empty token is the last page's. */
export interface Page<T> {
  readonly items: readonly T[];
  readonly nextToken: string;
}

/** What has come so far. */
export interface Paged<T> {
  readonly items: readonly T[];
  /** Where the next page begins; empty once everything is here. */
  readonly nextToken: string;
  /** True once the first page has come. */
  readonly begun: boolean;
  readonly pending: boolean;
  /** Why the last page asked for did not come. */
  readonly problem: Problem | null;
}

export type PagedStep<T> =
  | { readonly kind: "asked" }
  | { readonly kind: "came"; readonly page: Page<T>; readonly as: "first" | "next" | "refreshed" }
  | { readonly kind: "failed"; readonly problem: Problem };

/** Nothing yet. */
export function emptyPaged<T>(): Paged<T> {
  return { items: [], nextToken: "", begun: false, pending: false, problem: null };
}

/**
 * The list after a step. "refreshed" is a first page that came again for a list that is shown.
 *
 * `key` tells which items are the same: one that moved into a later page,
 * because something was added before it meanwhile, is shown once.
 */
export function nextPaged<T>(
  state: Paged<T>,
  step: PagedStep<T>,
  key: (item: T) => string,
): Paged<T> {
  switch (step.kind) {
    case "asked":
      return { ...state, pending: true, problem: null };
    case "failed":
      return { ...state, pending: false, problem: step.problem };
    case "came":
      return {
        ...came(state, step.page, step.as, key),
        begun: true,
        pending: false,
        problem: null,
      };
  }
}

function came<T>(
  { items, nextToken }: Paged<T>,
  page: Page<T>,
  as: "first" | "next" | "refreshed",
  key: (item: T) => string,
): Pick<Paged<T>, "items" | "nextToken"> {
  if (as === "next") {
    const known = new Set(items.map(key));
    const fresh = page.items.filter((each) => !known.has(key(each)));
    return { items: [...items, ...fresh], nextToken: page.nextToken };
  }
  const last = page.items.at(-1);
  const seam = as === "refreshed" && last ? items.findIndex((each) => key(each) === key(last)) : -1;
  // Where the fresh page meets what was there, the later pages stay: nobody loses their place.
  if (seam >= 0 && seam + 1 < items.length)
    return { items: [...page.items, ...items.slice(seam + 1)], nextToken };
  return page;
}
