import { fireEvent, render, screen } from "@testing-library/react";
import { beforeEach, describe, expect, test, vi } from "vitest";

import { DEFAULT_PREFERENCES, prefer } from "@/wishes/talk-preferences";

import { Orb, orbRole } from "./Orb";
import { type Floor, NEW_SESSION } from "./session-view";
import { talk } from "./talk";
import { useTalkKeys } from "./talk-keys";
import { IDLE, type TalkState } from "./talk-state";

const PLAIN = {
  muted: false,
  pushToTalk: false,
  holding: false,
  hears: true,
  asking: false,
  sounding: false,
};

test.each<[Floor, Partial<typeof PLAIN>, string]>([
  ["listening", {}, "mute"],
  ["learner", {}, "mute"],
  ["listening", { muted: true }, "unmute"],
  ["tutor", {}, "interrupt"],
  ["held", {}, "interrupt"],
  ["thinking", {}, "interrupt"],
  ["tutor", { muted: true }, "interrupt"],
  ["listening", { hears: false }, "listen-again"],
  // Pressed again while the browser asks, it would ask twice.
  ["listening", { hears: false, asking: true }, "none"],
  ["tutor", { hears: false, asking: true }, "interrupt"],
  ["listening", { pushToTalk: true }, "hold"],
  ["tutor", { pushToTalk: true }, "hold"],
  ["learner", { pushToTalk: true, holding: true }, "hold"],
  ["reconnecting", {}, "none"],
  // What was queued plays on, and can be stopped, without a connection.
  ["reconnecting", { sounding: true }, "interrupt"],
  ["reconnecting", { sounding: true, pushToTalk: true }, "interrupt"],
  ["connecting", { pushToTalk: true }, "none"],
])("while %s with %o the one big control does: %s", (floor, state, press) => {
  const role = orbRole(floor, { ...PLAIN, ...state });
  expect(role.press).toBe(press);
  expect(role.label).not.toBe("");
});

describe("hold to talk, by a hand that cannot hold", () => {
  let state: TalkState;
  let held: number;

  function Page() {
    useTalkKeys();
    return <Orb />;
  }

  function orb(): HTMLElement {
    return screen.getByRole("button");
  }

  beforeEach(() => {
    held = 0;
    prefer({ ...DEFAULT_PREFERENCES, pushToTalk: true });
    const view = { ...NEW_SESSION, floor: "listening" } as const;
    state = { ...IDLE, phase: "live", listening: "on", view };
    vi.spyOn(talk, "state", "get").mockImplementation(() => state);
    vi.spyOn(talk, "hold").mockImplementation(() => {
      held += 1;
      state = { ...state, holding: true };
    });
    vi.spyOn(talk, "letGo").mockImplementation(() => {
      state = { ...state, holding: false };
    });
  });

  test("a screen reader's click holds, and the next lets go", () => {
    const { rerender } = render(<Page />);
    fireEvent.click(orb(), { detail: 0 });
    expect(state.holding).toBe(true);
    rerender(<Page key="again" />);
    expect(orb()).toHaveAttribute("aria-pressed", "true");
    fireEvent.click(orb(), { detail: 0 });
    expect(state.holding).toBe(false);
  });

  test("a pointer's click, which has held and let go already, does neither", () => {
    render(<Page />);
    fireEvent.click(orb(), { detail: 1 });
    expect(held).toBe(0);
  });

  test.each(["Space", "Enter"])("%s on it holds as long as it is down", (code) => {
    render(<Page />);
    // Not prevented, it would click as well.
    expect(fireEvent.keyDown(orb(), { code })).toBe(false);
    expect(state.holding).toBe(true);
    fireEvent.keyDown(orb(), { code, repeat: true });
    expect(held).toBe(1);
    expect(fireEvent.keyUp(orb(), { code })).toBe(false);
    expect(state.holding).toBe(false);
  });

  test("Enter elsewhere is not the talk's", () => {
    render(<Page />);
    expect(fireEvent.keyDown(document.body, { code: "Enter" })).toBe(true);
    expect(state.holding).toBe(false);
  });
});
