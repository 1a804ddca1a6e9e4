import { expect, test } from "vitest";

import { stretch } from "./stretch";

const RATE = 24_000;

function tone(hz: number, seconds: number): Int16Array {
  return Int16Array.from({ length: RATE * seconds }, (_, i) =>
    Math.round(8000 * Math.sin((2 * Math.PI * hz * i) / RATE)),
  );
}

/** Crossings of zero upwards a second: the pitch of a tone. */
function pitch(samples: Int16Array): number {
  let crossings = 0;
  for (let i = 1; i < samples.length; i++) {
    if ((samples[i - 1] ?? 0) < 0 && (samples[i] ?? 0) >= 0) crossings += 1;
  }
  return (crossings * RATE) / samples.length;
}

test.each([0.5, 0.7, 1.3])(
  "at %f times the speed a voice keeps its pitch and its loudness",
  (rate) => {
    const slow = stretch(tone(200, 1), RATE, rate);
    expect(slow.length / RATE).toBeCloseTo(1 / rate, 1);
    expect(pitch(slow)).toBeGreaterThan(194);
    expect(pitch(slow)).toBeLessThan(206);
    const middle = slow.subarray(slow.length / 4, slow.length / 2);
    expect(Math.max(...middle)).toBeGreaterThan(7000);
    expect(Math.max(...middle)).toBeLessThan(9000);
  },
);

test("what is too short to cut, or needs no change, comes back as it is", () => {
  expect([...stretch(Int16Array.of(1, 2, 3), RATE, 0.5)]).toEqual([1, 2, 3]);
  expect(stretch(tone(100, 0.2), RATE, 1)).toEqual(tone(100, 0.2));
});
