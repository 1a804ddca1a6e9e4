import { expect, test } from "vitest";

import { DEFAULT_PREFERENCES, parsePreferences } from "./talk-preferences";

test.each([undefined, null, "{", 7, [], { speechRate: "fast", nonsense: 1 }])(
  "what was kept and makes no sense counts as nothing: %s",
  (kept) => {
    expect(parsePreferences(kept)).toEqual(DEFAULT_PREFERENCES);
  },
);

test("what makes sense is taken, within its bounds", () => {
  const kept = { pushToTalk: true, speechRate: 9, transport: "pigeon" };
  expect(parsePreferences(kept)).toEqual({
    ...DEFAULT_PREFERENCES,
    pushToTalk: true,
    speechRate: 2,
    transport: "auto",
  });
});
