import { expect, test } from "vitest";

import { TimeLine } from "./time-line";

const RATE = 1000; // one sample a millisecond

test("the session begins with the first frame, whatever the microphone counted before", () => {
  const line = new TimeLine(RATE);
  expect(line.place(700, 20, 5_020)).toBe(0);
  expect(line.place(720, 20, 5_040)).toBe(20);
  expect(line.next).toBe(40);
});

test("a frame that is delivered late keeps its place", () => {
  const line = new TimeLine(RATE);
  line.place(0, 20, 5_020);
  expect(line.place(20, 20, 5_090)).toBe(20);
});

test("frames that were not sent leave a gap", () => {
  const line = new TimeLine(RATE);
  line.place(0, 20, 5_020);
  expect(line.place(500, 20, 5_520)).toBe(500);
});

test("another microphone joins where the clock is", () => {
  const line = new TimeLine(RATE);
  line.place(0, 20, 5_020);
  line.changed();
  expect(line.place(0, 20, 8_020)).toBe(3_000);
  expect(line.place(20, 20, 8_040)).toBe(3_020);
});

test("however the clock jumps, nothing is placed over what was placed before", () => {
  const line = new TimeLine(RATE);
  line.place(0, 500, 5_500);
  line.changed();
  expect(line.place(0, 20, 5_030)).toBe(500);
});

test("a talk that goes on in another page is joined where the server has got to", () => {
  const line = new TimeLine(RATE);
  line.goOnFrom(900);
  expect(line.place(300, 20, 5_020)).toBe(900);
  line.changed();
  expect(line.place(0, 20, 6_020)).toBe(1_900);
});
