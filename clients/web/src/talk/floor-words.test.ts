import { expect, test } from "vitest";

import { clock, floorWords } from "./floor-words";
import type { Floor } from "./session-view";

const FLOORS: readonly Floor[] = [
  "connecting",
  "listening",
  "learner",
  "thinking",
  "tutor",
  "held",
  "reconnecting",
  "ended",
];

test.each(FLOORS)("while %s something true is said in every manner of talking", (floor) => {
  for (const bits of Array(32).keys()) {
    const [muted, pushToTalk, holding, hears, finishing] = [1, 2, 4, 8, 16].map(
      (bit) => (bits & bit) > 0,
    ) as [boolean, boolean, boolean, boolean, boolean];
    const words = floorWords(floor, { muted, pushToTalk, holding, hears, finishing });
    expect(words.title).not.toBe("");
    if (!hears) expect(words.hint).not.toMatch(/hold|speak/i);
  }
});

test.each([
  [0, "0:00"],
  [59_999, "0:59"],
  [187_000, "3:07"],
  [3_600_000, "60:00"],
  [-5, "0:00"],
])("%i ms is %s", (ms, wanted) => {
  expect(clock(ms)).toBe(wanted);
});
