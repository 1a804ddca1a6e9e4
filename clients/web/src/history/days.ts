/** Puts what happened under the days on which it happened. Pure. */

import { dayWords } from "@/ui/words";

export interface Day<T> {
  readonly words: string;
  readonly items: readonly T[];
}

/** Groups items, which stand newest first, by the day of the learner's own clock. */
export function byDay<T>(items: readonly T[], at: (item: T) => Date, now: Date): readonly Day<T>[] {
  const days: { words: string; items: T[] }[] = [];
  for (const item of items) {
    const words = dayWords(at(item), now);
    const last = days.at(-1);
    if (last?.words === words) last.items.push(item);
    else days.push({ words, items: [item] });
  }
  return days;
}
