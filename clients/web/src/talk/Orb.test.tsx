import { expect, test } from "vitest";

import { orbRole } from "./Orb";
import type { Floor } from "./session-view";

const PLAIN = { muted: false, pushToTalk: false, holding: false, hears: true };

test.each<[Floor, Partial<typeof PLAIN>, string]>([
  ["listening", {}, "mute"],
  ["learner", {}, "mute"],
  ["listening", { muted: true }, "unmute"],
  ["tutor", {}, "interrupt"],
  ["held", {}, "interrupt"],
  ["thinking", {}, "interrupt"],
  ["tutor", { muted: true }, "interrupt"],
  ["listening", { hears: false }, "listen-again"],
  ["listening", { pushToTalk: true }, "hold"],
  ["tutor", { pushToTalk: true }, "hold"],
  ["learner", { pushToTalk: true, holding: true }, "hold"],
  ["reconnecting", {}, "none"],
  ["connecting", { pushToTalk: true }, "none"],
])("while %s with %o the one big control does: %s", (floor, state, press) => {
  const role = orbRole(floor, { ...PLAIN, ...state });
  expect(role.press).toBe(press);
  expect(role.label).not.toBe("");
});
