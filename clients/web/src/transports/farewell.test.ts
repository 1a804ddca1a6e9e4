import { expect, test } from "vitest";

import { lastWords } from "./farewell";

test("the last words fill every hole that the page's end may have torn, and then finish", () => {
  const words = lastWords(120n);
  expect(words.map(({ seq }) => Number(seq))).toEqual(Array.from({ length: 50 }, (_, i) => 71 + i));
  expect(new Set(words.slice(0, -1).map(({ message }) => message.case))).toEqual(
    new Set(["settings"]),
  );
  expect(words.at(-1)?.message.case).toBe("finish");
});

test("the last words of a session that has hardly begun start with its first number", () => {
  expect(lastWords(1n).map(({ message }) => message.case)).toEqual(["finish"]);
  expect(lastWords(3n).map(({ seq }) => seq)).toEqual([1n, 2n, 3n]);
});
