/**
 * Keeps an audio context running: a call, an alarm or a change of device stops it without a word.
 *
 * Browsers start it again by themselves seldom, and some only from a touch: then the learner is asked.
 */

// A context that may run says so in milliseconds, on a busy machine in a second; one that waits for
// a touch, never.
export const RESUME_WITHIN_MS = 3_000;

/** Starts a context, or starts it again. Returns whether it runs; never waits for long. */
export async function resumed(context: AudioContext): Promise<boolean> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const enough = new Promise<boolean>((resolve) => {
    timer = setTimeout(() => resolve(false), RESUME_WITHIN_MS);
  });
  const running = context.resume().then(
    () => context.state === "running",
    () => false,
  );
  try {
    return await Promise.race([running, enough]);
  } finally {
    clearTimeout(timer);
  }
}

/** A context that is watched. */
export interface Kept {
  /** Tries to start it again: from a touch, where it would not otherwise. */
  wake(): Promise<void>;
  /** Watches no more. */
  end(): void;
}

/**
 * Watches a context and starts it again where it stops.
 *
 * `onStopped(true)` says that it could not be started, `onStopped(false)` that it runs.
 */
export function keepRunning(context: AudioContext, onStopped: (stopped: boolean) => void): Kept {
  let over = false;
  let waking = false;
  const wake = async () => {
    // Once at a time: every attempt may change the state, which asks for the next.
    if (over || waking || context.state === "closed") return;
    waking = true;
    const running = context.state === "running" || (await resumed(context));
    waking = false;
    // The compiler does not see that it may have been ended meanwhile.
    if (!(over as boolean)) onStopped(!running);
  };
  const onChange = () => void wake();
  const onVisibility = () => {
    if (document.visibilityState === "visible") void wake();
  };
  context.addEventListener("statechange", onChange);
  document.addEventListener("visibilitychange", onVisibility);
  return {
    wake,
    end: () => {
      over = true;
      context.removeEventListener("statechange", onChange);
      document.removeEventListener("visibilitychange", onVisibility);
    },
  };
}
