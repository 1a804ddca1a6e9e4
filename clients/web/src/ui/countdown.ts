import { useCallback, useEffect, useState } from "react";

/** How many whole seconds are left of a wait, counted down; 0 once it is over. */
export function useCountdown(): readonly [secondsLeft: number, begin: (ms: number) => void] {
  const [until, setUntil] = useState(0);
  const [left, setLeft] = useState(0);
  useEffect(() => {
    if (until === 0) return;
    const timer = setInterval(() => {
      const now = secondsUntil(until);
      setLeft(now);
      if (now === 0) setUntil(0);
    }, 250);
    return () => clearInterval(timer);
  }, [until]);
  const begin = useCallback((ms: number) => {
    const end = ms > 0 ? Date.now() + ms : 0;
    setUntil(end);
    setLeft(end ? secondsUntil(end) : 0);
  }, []);
  return [left, begin];
}

/** A wait as people say it: "40 s", "4 min", "1 min 5 s". */
export function waitWords(seconds: number): string {
  const minutes = Math.floor(seconds / 60);
  const rest = seconds % 60;
  if (minutes === 0) return `${rest} s`;
  return rest === 0 || minutes >= 5 ? `${minutes} min` : `${minutes} min ${rest} s`;
}

function secondsUntil(until: number): number {
  return Math.max(0, Math.ceil((until - Date.now()) / 1000));
}
