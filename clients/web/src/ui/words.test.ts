import { expect, test } from "vitest";

import { clockWords, count, dayWords, lengthWords, silenceWords, spokenLength } from "./words";

const NOW = new Date(2026, 2, 11, 9, 0); // a Wednesday

test.each([
  [new Date(2026, 2, 11, 0, 1), "Today"],
  [new Date(2026, 2, 10, 23, 59), "Yesterday"],
  [new Date(2026, 2, 9, 12, 0), "Monday"],
  [new Date(2026, 2, 4, 12, 0), "Wednesday 4 March"],
  [new Date(2025, 11, 24, 12, 0), "Wednesday, 24 December 2025"],
])("a day is called as people call it: %s", (date, words) => {
  expect(dayWords(date, NOW).replace(",", "")).toBe(words.replace(",", ""));
});

test("a clock ahead of ours makes nobody speak tomorrow's language", () => {
  expect(dayWords(new Date(2026, 2, 12), NOW)).toContain("12 March");
});

test.each([
  [400, "0 s"],
  [59_400, "59 s"],
  [61_000, "1 min"],
  [3_600_000, "1 h"],
  [3_900_000, "1 h 5 min"],
])("a length of %i ms is %s", (ms, words) => {
  expect(lengthWords(ms)).toBe(words);
});

test.each([
  [-5, "0:00"],
  [5_900, "0:05"],
  [760_000, "12:40"],
  [3_723_000, "1:02:03"],
])("a place at %i ms is %s", (ms, words) => {
  expect(clockWords(ms)).toBe(words);
});

test("a place is read aloud in whole words", () => {
  expect(spokenLength(0)).toBe("0 seconds");
  expect(spokenLength(61_000)).toBe("1 minute 1 second");
  expect(spokenLength(120_000)).toBe("2 minutes");
});

test("one is not many", () => {
  expect([count(1, "turn"), count(0, "turn")]).toEqual(["1 turn", "0 turns"]);
});

test("a silence of nothing is not shown as a number", () => {
  expect([silenceWords(3), silenceWords(240), silenceWords(1_234)]).toEqual([
    "",
    "240 ms",
    "1.2 s",
  ]);
});
