import { expect, test } from "vitest";

import { Framer } from "./framer";

test("frames have the same length, follow each other without a gap, and lose nothing", () => {
  const framer = new Framer(4);
  const frames = [
    ...framer.push(Float32Array.of(0.1, 0.2, 0.3)),
    ...framer.push(Float32Array.of(0.4, 0.5, 0.6, 0.7, 0.8, 0.9)),
  ];
  expect(frames.map((each) => each.firstSample)).toEqual([0, 4]);
  const said = frames.flatMap((each) => [...each.pcm]).map((each) => each / 32767);
  said.forEach((each, i) => expect(each).toBeCloseTo((i + 1) / 10, 3));
});

test("what is too loud is clipped, not wrapped around", () => {
  const [frame] = new Framer(2).push(Float32Array.of(3, -3));
  expect([...(frame?.pcm ?? [])]).toEqual([32767, -32767]);
});

test("loudness is the root mean square of the frame", () => {
  const [silent, loud] = new Framer(2).push(Float32Array.of(0, 0, 0.5, -0.5));
  expect(silent?.level).toBe(0);
  expect(loud?.level).toBeCloseTo(0.5);
});
