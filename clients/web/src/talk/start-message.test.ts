import { expect, test } from "vitest";

import { DEFAULT_PREFERENCES } from "@/wishes/talk-preferences";

import { startMessage } from "./start-message";

test("what the learner has no wish about is left to the server", () => {
  const message = startMessage(DEFAULT_PREFERENCES, { patience: 0.9 }, 16_000);
  expect(message).toMatchObject({ engine: "", voice: "", scenarioId: "free-talk" });
  expect(message.speechRate).toBeUndefined();
  expect(message.turnTaking).toBeUndefined();
  expect(message.inputFormat?.sampleRateHz).toBe(16_000);
});

test("push-to-talk keeps the account's other manners of taking turns", () => {
  const wishes = { ...DEFAULT_PREFERENCES, pushToTalk: true, speechRate: 0.7 };
  const message = startMessage(wishes, { patience: 0.9 }, 16_000);
  expect(message.turnTaking?.pushToTalk).toBe(true);
  expect(message.turnTaking?.patience).toBeCloseTo(0.9);
  expect(message.speechRate).toBeCloseTo(0.7);
});
