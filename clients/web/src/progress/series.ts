/** What a chart draws: one point a day or a week, of what the server tells of days. Pure. */

import { CorrectionKind } from "@parley/stubs/parley/types/v1/feedback_pb";
import type {
  DailyProgress,
  GetProgressResponse,
} from "@parley/stubs/parley/history/v1/history_pb";

/** Some days in a row, added up. Without practice all is 0. */
export interface Point {
  /** The first of them and the last, as YYYY-MM-DD. */
  readonly first: string;
  readonly last: string;
  readonly speechMs: number;
  readonly words: number;
  readonly turns: number;
  /** Words a minute, of what was spoken; 0 without speech. */
  readonly rate: number;
  /** The usual wait for an answer; 0 where there was none. */
  readonly waitMs: number;
  /** Corrections of all kinds. */
  readonly notes: number;
}

/** The kinds of notes, in the order in which they stand. */
export const KINDS: readonly (readonly [kind: CorrectionKind, words: string])[] = [
  [CorrectionKind.GRAMMAR, "Grammar"],
  [CorrectionKind.VOCABULARY, "Choice of words"],
  [CorrectionKind.PRONUNCIATION, "Pronunciation"],
  [CorrectionKind.STYLE, "Style"],
];

/** Makes points of `days` days each of the time that was asked about; the last ends with it. */
export function pointsOf(
  told: Pick<GetProgressResponse, "days" | "fromDate" | "toDate">,
  days: number,
): readonly Point[] {
  const last = dayNumber(told.toDate);
  const count = Math.ceil((last - dayNumber(told.fromDate) + 1) / days);
  const parts = Array.from({ length: count }, (): DailyProgress[] => []);
  for (const day of told.days) {
    const place = count - 1 - Math.floor((last - dayNumber(day.date)) / days);
    parts[place]?.push(day);
  }
  return parts.map((part, i) => {
    const end = last - (count - 1 - i) * days;
    const first = Math.max(end - days + 1, dayNumber(told.fromDate));
    return { first: dateOf(first), last: dateOf(end), ...addUp(part) };
  });
}

/** Adds days up. The usual wait of several is the one in the middle of all turns. */
export function addUp(days: readonly DailyProgress[]): Omit<Point, "first" | "last"> {
  const speechMs = sum(days, (day) => Number(day.speechMs));
  // What the rate was made of: words that were typed take no time.
  const spoken = sum(days, (day) => (day.rateWpm * Number(day.speechMs)) / 60_000);
  return {
    speechMs,
    words: sum(days, (day) => day.words),
    turns: sum(days, (day) => day.turns),
    rate: speechMs > 0 ? (spoken * 60_000) / speechMs : 0,
    waitMs: middleWait(days),
    notes: sum(days, (day) => sum(day.corrections, (each) => each.count)),
  };
}

/** How many notes of each kind there were, the kinds that came up only. */
export function notesByKind(
  days: readonly DailyProgress[],
): readonly (readonly [words: string, count: number])[] {
  const counts = new Map<CorrectionKind, number>();
  for (const day of days) {
    for (const { kind, count } of day.corrections) {
      counts.set(kind, (counts.get(kind) ?? 0) + count);
    }
  }
  const known = KINDS.map(([kind, words]) => [words, counts.get(kind) ?? 0] as const);
  for (const [kind] of KINDS) counts.delete(kind);
  // A newer server may know more kinds than this page.
  const others = [...counts.values()].reduce((all, count) => all + count, 0);
  return [...known, ["Others", others] as const].filter(([, count]) => count > 0);
}

/** The least round number that is not below `most`: what the top of a scale says. */
export function roundTop(most: number): number {
  if (most <= 0) return 1;
  const power = 10 ** Math.floor(Math.log10(most));
  // Of whole things no scale ends with a half.
  const steps = power > 1 ? [1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8] : [1, 2, 3, 4, 5, 6, 8];
  return (steps.find((each) => most <= each * power * (1 + 1e-9)) ?? 10) * power;
}

/** The day `days` after another, as YYYY-MM-DD. */
export function dayAfter(date: string, days: number): string {
  return dateOf(dayNumber(date) + days);
}

/** A day for people: "Mon 23 Nov". */
export function dateWords(date: string): string {
  return words(date, { weekday: "short", day: "numeric", month: "short" });
}

/** The same without the weekday, where there is little room: "23 Nov". */
export function shortDateWords(date: string): string {
  return words(date, { day: "numeric", month: "short" });
}

/** When a point was: a day, or from one to another. */
export function pointWords({ first, last }: Pick<Point, "first" | "last">): string {
  return first === last ? dateWords(first) : `${shortDateWords(first)} to ${shortDateWords(last)}`;
}

function middleWait(days: readonly DailyProgress[]): number {
  const known = days.filter((day) => day.medianSilenceMs > 0);
  const ordered = [...known].sort((one, other) => one.medianSilenceMs - other.medianSilenceMs);
  const half = sum(ordered, (day) => day.turns) / 2;
  let turns = 0;
  for (const day of ordered) {
    turns += day.turns;
    if (turns >= half) return day.medianSilenceMs;
  }
  return 0;
}

function sum<T>(items: readonly T[], of: (item: T) => number): number {
  return items.reduce((all, item) => all + of(item), 0);
}

const DAY_MS = 86_400_000;

// A day of the calendar is no moment: in UTC's terms none is shorter than another.
function dayNumber(date: string): number {
  return Date.parse(`${date}T00:00:00Z`) / DAY_MS;
}

function dateOf(day: number): string {
  return new Date(day * DAY_MS).toISOString().slice(0, 10);
}

function words(date: string, options: Intl.DateTimeFormatOptions): string {
  return new Intl.DateTimeFormat("en-GB", { ...options, timeZone: "UTC" })
    .format(new Date(`${date}T00:00:00Z`))
    .replace(",", "");
}
