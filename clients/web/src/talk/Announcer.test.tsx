import { act, render, screen } from "@testing-library/react";
import { afterEach, beforeEach, expect, test, vi } from "vitest";

import { DEFAULT_PREFERENCES, prefer } from "@/wishes/talk-preferences";

import { Announcer } from "./Announcer";
import { NEW_SESSION, type TurnView } from "./session-view";
import { talk } from "./talk";
import { IDLE, type TalkState } from "./talk-state";

const TURN: TurnView = {
  number: 1,
  utterance: "He go home.",
  utteranceFinal: true,
  typed: false,
  generation: 1,
  kind: "answer",
  words: [],
  heardMs: 0,
  end: "completed",
  heardText: "",
  silenceMs: null,
  stages: [],
  turnId: "t",
  corrections: [
    {
      id: "n1",
      kind: "grammar",
      original: "go",
      replacement: "goes",
      explanation: "He, she and it take an s.",
      firstWord: 1,
      endWord: 2,
    },
  ],
};

let state: TalkState;
let drawn: ReturnType<typeof render>;

/** Changes the talk, and lets time pass. */
function become(part: Partial<TalkState>, ms: number): void {
  state = { ...state, ...part };
  drawn.rerender(<Announcer />);
  act(() => {
    vi.advanceTimersByTime(ms);
  });
}

function view(part: Partial<TalkState["view"]>): TalkState["view"] {
  return { ...state.view, ...part };
}

beforeEach(() => {
  vi.useFakeTimers();
  state = { ...IDLE, phase: "live", listening: "on", view: { ...NEW_SESSION, floor: "listening" } };
  vi.spyOn(talk, "state", "get").mockImplementation(() => state);
  drawn = render(<Announcer />);
});

afterEach(() => {
  vi.useRealTimers();
  prefer(DEFAULT_PREFERENCES);
});

test("says whose turn it is when that has settled, and not what passes", () => {
  become({}, 1_000);
  expect(screen.getByRole("status")).toHaveTextContent("Your turn");
  become({ view: view({ floor: "learner" }) }, 300);
  become({ view: view({ floor: "thinking" }) }, 300);
  expect(screen.getByRole("status")).toHaveTextContent("Your turn");
  become({}, 600);
  expect(screen.getByRole("status")).toHaveTextContent("Thinking");
});

test("is silent while the tutor can be heard, and tells new notes afterwards, once", () => {
  become({}, 1_000);
  become({ sounding: true, view: view({ floor: "tutor", turns: [TURN] }) }, 5_000);
  expect(screen.getByRole("status")).not.toHaveTextContent("Note");
  become({ sounding: false, view: view({ floor: "listening" }) }, 1_000);
  expect(screen.getByRole("status")).toHaveTextContent("Note: not “go” but “goes”. Your turn");
  become({ muted: true }, 1_000);
  expect(screen.getByRole("status").textContent).toBe("Muted");
});

test("reads each answer whole and once where the tutor is asked to be silent", () => {
  const words = [{ text: "He goes", startMs: 0 }];
  const reply: TurnView = { ...TURN, corrections: [], words, end: "" };
  become({ view: view({ turns: [{ ...reply, end: "completed" }] }) }, 1_000);
  // What was heard before is not read now.
  expect(screen.getByRole("status").textContent).toBe("Your turn");
  prefer({ captionsOnly: true });
  const second = { ...reply, number: 2, generation: 2 };
  become({ view: view({ turns: [reply, second], floor: "thinking" }) }, 1_000);
  expect(screen.getByRole("status").textContent).toBe("Thinking…");
  const whole = { ...second, words: [...words, { text: " home.", startMs: 0 }], end: "completed" };
  become({ view: view({ turns: [reply, whole as TurnView], floor: "listening" }) }, 1_000);
  expect(screen.getByRole("status").textContent).toBe("He goes home. Your turn");
  become({ muted: true }, 1_000);
  expect(screen.getByRole("status").textContent).toBe("Muted");
});
