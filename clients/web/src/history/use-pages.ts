import { useCallback, useEffect, useReducer, useRef } from "react";

import { problemFromError } from "@/rpc/problem";

import { type Page, type Paged, type PagedStep, emptyPaged, nextPaged } from "./pages";

/** A list in pages, with what asks for more of it. */
export interface Pages<T> extends Paged<T> {
  /** Asks for the next page, or again for the one that failed. Harmless while one is on its way. */
  readonly more: () => void;
}

/**
 * Reads a list page by page. The first page is asked for at once and whenever `source` changes;
 * what was there stays until the new first page has come, so that nothing flickers.
 *
 * `source` and `key` must be stable: a new function is a new list.
 */
export function usePages<T>(
  source: (pageToken: string, signal: AbortSignal) => Promise<Page<T>>,
  key: (item: T) => string,
  known?: Paged<T>,
): Pages<T> {
  const [state, dispatch] = useReducer(
    (before: Paged<T>, step: PagedStep<T>) => nextPaged(before, step, key),
    known ?? emptyPaged<T>(),
  );
  const latest = useRef(state);
  useEffect(() => {
    latest.current = state;
  });
  const call = useRef<AbortController | null>(null);
  // Whose items are shown: those of another source are replaced, not refreshed.
  const shown = useRef<unknown>(known ? source : null);
  const ask = useCallback(
    (pageToken: string) => {
      call.current?.abort();
      const controller = new AbortController();
      call.current = controller;
      dispatch({ kind: "asked" });
      source(pageToken, controller.signal).then(
        (page) => {
          if (controller.signal.aborted) return;
          call.current = null;
          const again = latest.current.begun && shown.current === source;
          dispatch({ kind: "came", page, as: pageToken ? "next" : again ? "refreshed" : "first" });
          shown.current = source;
        },
        (error: unknown) => {
          if (controller.signal.aborted) return;
          call.current = null;
          dispatch({ kind: "failed", problem: problemFromError(error) });
        },
      );
    },
    [source],
  );
  useEffect(() => {
    ask("");
    return () => call.current?.abort();
  }, [ask]);
  const more = useCallback(() => {
    if (call.current) return;
    const { begun, nextToken, problem } = latest.current;
    if (nextToken) ask(nextToken);
    else if (!begun || problem) ask("");
  }, [ask]);
  return { ...state, more };
}
