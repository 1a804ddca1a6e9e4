import { expect, test } from "vitest";

import { waveformPath } from "./waveform";

test("every bar is drawn, and a short loud word is not averaged away", () => {
  const peaks = new Uint8Array(1000);
  peaks[555] = 255;
  const bars = waveformPath(peaks, 10).split("M").slice(1);
  expect(bars).toHaveLength(10);
  expect(bars.filter((bar) => bar.endsWith("v2"))).toHaveLength(1);
});

test("a recording without peaks is a thin line", () => {
  expect(new Set(waveformPath(new Uint8Array(), 4).match(/v[\d.]+/g))).toEqual(new Set(["v0.12"]));
});
