import { useCallback, useEffect, useReducer, useRef } from "react";

import { type Problem, problemFromError } from "./problem";

/** Where a call stands. `value` stays while it is made again, so that nothing flickers. */
export interface Call<T> {
  readonly value: T | undefined;
  readonly problem: Problem | null;
  readonly pending: boolean;
  /** Makes it again. */
  readonly again: () => void;
}

interface State<T> {
  readonly value: T | undefined;
  readonly problem: Problem | null;
  readonly pending: boolean;
}

type Step<T> =
  | { readonly kind: "asked" }
  | { readonly kind: "answered"; readonly value: T }
  | { readonly kind: "failed"; readonly problem: Problem };

function next<T>(state: State<T>, step: Step<T>): State<T> {
  switch (step.kind) {
    case "asked":
      // What went wrong the last time is not said of this one: it is under way.
      return { ...state, problem: null, pending: true };
    case "answered":
      return { value: step.value, problem: null, pending: false };
    case "failed":
      return { ...state, problem: step.problem, pending: false };
  }
}

/**
 * Makes a call when the component appears and whenever `key` changes; `again` repeats it.
 *
 * A late answer to an earlier key is dropped, and the call is cancelled when nobody waits for it.
 */
export function useCall<T>(key: string, make: (signal: AbortSignal) => Promise<T>): Call<T> {
  const [state, dispatch] = useReducer(next<T>, {
    value: undefined,
    problem: null,
    pending: true,
  });
  const latest = useRef(make);
  useEffect(() => {
    latest.current = make;
  });
  const [attempt, again] = useReducer((count: number) => count + 1, 0);
  useEffect(() => {
    const controller = new AbortController();
    dispatch({ kind: "asked" });
    latest.current(controller.signal).then(
      (value) => {
        if (!controller.signal.aborted) dispatch({ kind: "answered", value });
      },
      (error: unknown) => {
        if (controller.signal.aborted) return;
        dispatch({ kind: "failed", problem: problemFromError(error) });
      },
    );
    return () => controller.abort();
  }, [key, attempt]);
  return { ...state, again: useCallback(() => again(), []) };
}
