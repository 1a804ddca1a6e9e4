import { expect, test } from "vitest";

import { highlight } from "./highlight";

const found = (snippet: string, ...spans: [number, number][]) =>
  highlight(
    snippet,
    spans.map(([start, end]) => ({ start, end })),
  )
    .map((piece) => (piece.found ? `[${piece.text}]` : piece.text))
    .join("");

test("what was found is marked and the rest is kept", () => {
  expect(found("the red house", [4, 7])).toBe("the [red] house");
  expect(found("red", [0, 3])).toBe("[red]");
  expect(found("nothing")).toBe("nothing");
});

test("stretches are counted in characters, not in JavaScript's halves of them", () => {
  expect(found("😀😀 fish 😀", [3, 7])).toBe("😀😀 [fish] 😀");
});

test("stretches that overlap, lie outside or stand in disorder lose no text", () => {
  expect(found("abcdef", [4, 99], [0, 2], [1, 3])).toBe("[ab][c]d[ef]");
  expect(found("abc", [7, 9])).toBe("abc");
});
