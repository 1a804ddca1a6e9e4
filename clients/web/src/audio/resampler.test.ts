import { describe, expect, test } from "vitest";

import { Resampler } from "./resampler";

function tone(hz: number, rateHz: number, seconds: number, level = 0.5): Float32Array {
  return Float32Array.from(
    { length: rateHz * seconds },
    (_, i) => level * Math.sin((2 * Math.PI * hz * i) / rateHz),
  );
}

/** Root mean square of the middle, where the filter has settled. */
function loudness(samples: Float32Array): number {
  const middle = samples.subarray(samples.length / 4, (samples.length * 3) / 4);
  return Math.sqrt(middle.reduce((sum, each) => sum + each * each, 0) / middle.length);
}

describe("Resampler", () => {
  test.each([
    [48_000, 16_000],
    [44_100, 16_000],
    [24_000, 48_000],
    [22_050, 44_100],
    [24_000, 44_100],
  ])("keeps a voice's loudness and length from %i to %i Hz", (from, to) => {
    const made = new Resampler(from, to).process(tone(440, from, 0.5));
    expect(Math.abs(made.length - to * 0.5)).toBeLessThan(60);
    expect(loudness(made)).toBeCloseTo(0.5 / Math.SQRT2, 2);
  });

  test("takes away what the slower rate cannot hold, 60 dB or more", () => {
    const made = new Resampler(48_000, 16_000).process(tone(10_000, 48_000, 0.5));
    expect(loudness(made)).toBeLessThan(0.0004);
  });

  test("adds no mirror image when the rate grows", () => {
    const made = new Resampler(24_000, 48_000).process(tone(1_000, 24_000, 0.5));
    const wanted = tone(1_000, 48_000, 0.5);
    // The delay is a whole number of input samples: compare at the best shift.
    let least = Infinity;
    for (let shift = 0; shift < 80; shift++) {
      let error = 0;
      for (let i = 4_000; i < 8_000; i++) error += ((made[i] ?? 0) - (wanted[i - shift] ?? 0)) ** 2;
      least = Math.min(least, Math.sqrt(error / 4_000));
    }
    expect(least).toBeLessThan(0.002);
  });

  test("gives the same however the input is cut", () => {
    const input = tone(330, 44_100, 0.3);
    const whole = new Resampler(44_100, 16_000).process(input);
    const cut = new Resampler(44_100, 16_000);
    const pieces: number[] = [];
    for (let at = 0, size = 1; at < input.length; at += size, size = (size * 7) % 301) {
      pieces.push(...cut.process(input.subarray(at, at + size)));
    }
    expect(pieces.length).toBe(whole.length);
    pieces.forEach((each, i) => expect(each).toBeCloseTo(whole[i] ?? NaN, 6));
  });

  test("changes nothing where there is nothing to change", () => {
    const input = tone(100, 16_000, 0.01);
    expect(new Resampler(16_000, 16_000).process(input)).toBe(input);
  });
});
