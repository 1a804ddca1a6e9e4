import { expect, test } from "vitest";

import { SilenceMeter } from "./silence";

const LOUD = Int16Array.of(0, 3000);
const QUIET = Int16Array.of(0, 50);

/** Speech ended at 2000 ms of a time line that began at 10 000 on the clock. */
function meter(): SilenceMeter {
  const one = new SilenceMeter(16_000);
  one.captured(16_000, 11_000);
  one.captured(32_000, 12_040); // delivered late: no evidence of an earlier beginning
  one.spoken(2_000);
  return one;
}

test("silence runs from the end of speech to the first sound in the air", () => {
  const one = meter();
  one.replyStarted(1, 1, true);
  one.replyAudio(1, LOUD, 12_500);
  expect(one.replyPlayed(1, 12_545)).toBe(45);
  expect(one.silenceMs(1)).toBe(545);
});

test("the silence that a synthesizer begins with is silence to the learner as well", () => {
  const one = meter();
  one.replyStarted(1, 1, true);
  one.replyAudio(1, QUIET, 12_300);
  one.replyAudio(1, LOUD, 12_400);
  one.replyPlayed(1, 12_310);
  expect(one.silenceMs(1)).toBe(410);
});

test("nobody waited for an opening or a hint", () => {
  const one = meter();
  one.replyStarted(1, 1, false);
  one.replyAudio(1, LOUD, 12_500);
  expect(one.silenceMs(1)).toBeNull();
});

test("a typed line waits from when it was sent", () => {
  const one = meter();
  one.typed(20_000);
  one.replyStarted(2, 2, true);
  one.replyAudio(2, LOUD, 20_300);
  expect(one.silenceMs(2)).toBe(300);
});

test("a line typed with the microphone closed waits from when it was sent, not from the last sound", () => {
  const one = meter();
  one.speechBegan();
  one.spoken(2_000);
  one.typed(60_000);
  one.spoken(3_000);
  one.replyStarted(2, 2, true);
  one.replyAudio(2, LOUD, 60_440);
  expect(one.silenceMs(2)).toBe(440);
});

test("what is spoken after a typed line waits from the end of speech again", () => {
  const one = meter();
  one.typed(20_000);
  one.spoken(9_000);
  one.speechBegan();
  one.spoken(22_000);
  one.replyStarted(3, 3, true);
  one.replyAudio(3, LOUD, 32_500);
  expect(one.silenceMs(3)).toBe(500);
});

test("a delay to the air is told once", () => {
  const one = meter();
  one.replyStarted(1, 1, true);
  expect(one.replyPlayed(1, 12_400)).toBeNull();
  one.replyAudio(1, LOUD, 12_500);
  expect(one.replyPlayed(1, 12_520)).toBe(20);
  expect(one.replyPlayed(1, 12_600)).toBeNull();
});

test("the stages add up to the silence; what they do not explain is said", () => {
  const one = meter();
  one.replyStarted(1, 1, true);
  one.replyAudio(1, LOUD, 12_500);
  one.replyPlayed(1, 12_540);
  const server = [
    { name: "endpoint", durationMs: 300, note: "" },
    { name: "first audio", durationMs: 150, note: "" },
    { name: "unaccounted", durationMs: 99, note: "" },
  ];
  const stages = one.stages(1, server, 20);
  expect(stages.map((each) => [each.name, each.durationMs])).toEqual([
    ["endpoint", 300],
    ["first audio", 150],
    ["received", 20],
    ["played", 40],
    ["unaccounted", 30],
  ]);
  expect(stages.reduce((sum, each) => sum + each.durationMs, 0)).toBe(one.silenceMs(1));
});
