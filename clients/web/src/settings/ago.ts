const STEPS: readonly (readonly [unit: Intl.RelativeTimeFormatUnit, seconds: number])[] = [
  ["day", 86_400],
  ["hour", 3_600],
  ["minute", 60],
];

/** How long ago something was: "3 hours ago", "yesterday". Pure. */
export function agoWords(then: Date, nowMs: number): string {
  const seconds = Math.max(0, (nowMs - then.getTime()) / 1000);
  const words = new Intl.RelativeTimeFormat("en", { numeric: "auto" });
  for (const [unit, size] of STEPS)
    if (seconds >= size) return words.format(-Math.floor(seconds / size), unit);
  return "just now";
}
