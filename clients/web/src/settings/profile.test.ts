import { CefrLevel } from "@parley/stubs/parley/types/v1/learner_pb";
import { expect, test } from "vitest";

import { patienceWords } from "./patience";
import { changedPaths, formOf, rebased, withEntry } from "./profile";

test("only what was changed is sent, so that another device's changes stay", () => {
  const before = formOf(undefined);
  expect(changedPaths(before, before)).toEqual([]);
  const after = { ...before, level: CefrLevel.B1, goals: ["an interview"] };
  expect(changedPaths(before, after)).toEqual(["profile.level", "profile.goals"]);
});

test("what another device changed meanwhile comes in, and what is being typed stays", () => {
  const before = formOf(undefined);
  const typed = { ...before, displayName: "Ana" };
  const elsewhere = { ...before, displayName: "Anna", level: CefrLevel.C1 };
  expect(rebased(typed, before, elsewhere)).toEqual({ ...elsewhere, displayName: "Ana" });
});

test("an entry is added once, trimmed, while there is room", () => {
  expect(withEntry(["Tea"], "  my   dog ", 5)).toEqual(["Tea", "my dog"]);
  expect(withEntry(["Tea"], "tea", 5)).toEqual(["Tea"]);
  expect(withEntry(["Tea"], " ", 5)).toEqual(["Tea"]);
  expect(withEntry(["Tea"], "dogs", 1)).toEqual(["Tea"]);
});

test("every patience has words, and more of it never sounds like less", () => {
  const names = [0, 0.1, 0.3, 0.5, 0.7, 0.9, 1].map((each) => patienceWords(each).name);
  expect(names).toEqual([
    "Very quick",
    "Very quick",
    "Quick",
    "Balanced",
    "Patient",
    "Very patient",
    "Very patient",
  ]);
});
