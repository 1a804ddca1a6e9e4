import { render, screen } from "@testing-library/react";
import { expect, test, vi } from "vitest";

import { LiveTalk } from "./LiveTalk";
import { NEW_SESSION } from "./session-view";
import { talk } from "./talk";
import { IDLE, type TalkState } from "./talk-state";

test.each([
  ["a server that will go away is told of", "listening", true],
  ["but not beside the lost connection that follows", "reconnecting", false],
] as const)("%s", (_promise, floor, told) => {
  const view = { ...NEW_SESSION, floor, timeLeftMs: 30_000 };
  const state: TalkState = { ...IDLE, phase: "live", listening: "on", view };
  vi.spyOn(talk, "state", "get").mockReturnValue(state);
  render(<LiveTalk />);
  expect(screen.queryByText(/server is being restarted/) !== null).toBe(told);
});
