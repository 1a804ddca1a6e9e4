import { expect, test } from "vitest";

import { DEFAULT_PREFERENCES } from "@/wishes/talk-preferences";

import { startMessage } from "./start-message";

test("what the learner has no wish about is left to the server", () => {
  const message = startMessage(DEFAULT_PREFERENCES, 16_000);
  expect(message).toMatchObject({ engine: "", voice: "", scenarioId: "free-talk" });
  expect(message.speechRate).toBeUndefined();
  expect(message.turnTaking?.patience).toBeUndefined();
  expect(message.inputFormat?.sampleRateHz).toBe(16_000);
});

test.each([false, true])("whether a button ends turns is said either way: %s", (pushToTalk) => {
  const wishes = { ...DEFAULT_PREFERENCES, pushToTalk, speechRate: 0.7 };
  const message = startMessage(wishes, 16_000);
  expect(message.turnTaking?.pushToTalk).toBe(pushToTalk);
  expect(message.speechRate).toBeCloseTo(0.7);
});
