import { type MessageInitShape, create } from "@bufbuild/protobuf";
import {
  type DailyProgress,
  DailyProgressSchema,
} from "@parley/stubs/parley/history/v1/history_pb";
import { CorrectionKind } from "@parley/stubs/parley/types/v1/feedback_pb";
import { describe, expect, test } from "vitest";

import { addUp, dayAfter, notesByKind, pointWords, pointsOf, roundTop } from "./series";

const day = (
  date: string,
  more: Exclude<MessageInitShape<typeof DailyProgressSchema>, DailyProgress> = {},
) =>
  create(DailyProgressSchema, {
    date,
    speechMs: 60_000n,
    words: 100,
    turns: 10,
    rateWpm: 100,
    medianSilenceMs: 800,
    ...more,
  });

// Of a server that knows more kinds than this page.
// eslint-disable-next-line @typescript-eslint/no-unsafe-enum-assignment
const NEWER = 77 as CorrectionKind;

describe("points", () => {
  test("every day has one, those without practice as well", () => {
    const days = [day("2026-11-21"), day("2026-11-23", { words: 7 })];
    const points = pointsOf({ days, fromDate: "2026-11-20", toDate: "2026-11-23" }, 1);
    expect(points.map((each) => [each.first, each.last, each.words])).toEqual([
      ["2026-11-20", "2026-11-20", 0],
      ["2026-11-21", "2026-11-21", 100],
      ["2026-11-22", "2026-11-22", 0],
      ["2026-11-23", "2026-11-23", 7],
    ]);
  });

  test("weeks end with the last day, and the first of them may be short", () => {
    const days = [day("2026-11-13"), day("2026-11-16"), day("2026-11-17"), day("2026-11-23")];
    const points = pointsOf({ days, fromDate: "2026-11-13", toDate: "2026-11-23" }, 7);
    expect(points.map((each) => [each.first, each.last, each.turns])).toEqual([
      ["2026-11-13", "2026-11-16", 20],
      ["2026-11-17", "2026-11-23", 20],
    ]);
  });

  test("the clock's changes make no day longer", () => {
    const days = [day("2026-03-28"), day("2026-03-29"), day("2026-03-30")];
    const points = pointsOf({ days, fromDate: "2026-03-28", toDate: "2026-03-30" }, 1);
    expect(points.map((each) => each.turns)).toEqual([10, 10, 10]);
  });
});

describe("adding up", () => {
  test("the rate counts spoken words by the time they took, not days", () => {
    const typed = day("2026-11-20", { speechMs: 0n, rateWpm: 0, words: 500 });
    const long = day("2026-11-21", { speechMs: 180_000n, rateWpm: 140 });
    const short = day("2026-11-22", { speechMs: 60_000n, rateWpm: 60 });
    expect(addUp([typed, long, short]).rate).toBeCloseTo(120);
    expect(addUp([typed]).rate).toBe(0);
  });

  test("the usual wait is that of the turn in the middle", () => {
    const slow = day("2026-11-20", { medianSilenceMs: 3000, turns: 2 });
    const none = day("2026-11-21", { medianSilenceMs: 0, turns: 90 });
    const usual = day("2026-11-22", { medianSilenceMs: 700, turns: 5 });
    expect(addUp([slow, none, usual]).waitMs).toBe(700);
    expect(addUp([none]).waitMs).toBe(0);
  });

  test("notes are counted by kind, and one that this page does not know among the others", () => {
    const corrections = [
      { kind: CorrectionKind.STYLE, count: 1 },
      { kind: CorrectionKind.GRAMMAR, count: 2 },
      { kind: NEWER, count: 4 },
    ];
    const days = [day("2026-11-20", { corrections }), day("2026-11-21", { corrections })];
    expect(notesByKind(days)).toEqual([
      ["Grammar", 4],
      ["Style", 2],
      ["Others", 8],
    ]);
    expect(addUp(days).notes).toBe(14);
    expect(notesByKind([])).toEqual([]);
  });
});

test.each([
  [0, 1],
  [1, 1],
  [7, 8],
  [9, 10],
  [1.1, 2],
  [11, 12],
  [120, 120],
  [121, 150],
  [0.3, 0.3],
  [999, 1000],
])("the scale of %d ends at %d", (most, top) => expect(roundTop(most)).toBeCloseTo(top));

test("days have names without a year, and a week its first and last", () => {
  expect(pointWords({ first: "2026-11-23", last: "2026-11-23" })).toBe("Mon 23 Nov");
  expect(pointWords({ first: "2026-11-17", last: "2026-11-23" })).toBe("17 Nov to 23 Nov");
  expect(dayAfter("2026-03-01", -1)).toBe("2026-02-28");
});
