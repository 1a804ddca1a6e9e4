import { Code } from "@connectrpc/connect";
import { render, screen } from "@testing-library/react";
import { afterEach, expect, test, vi } from "vitest";

import { type Problem, problemFromRefusal } from "@/rpc/problem";
import { refusal } from "@/rpc/refusal";

import { type CorrectionView, NEW_SESSION, type TurnView } from "./session-view";
import { Summary } from "./Summary";
import { talk } from "./talk";
import { IDLE } from "./talk-state";

const NOTE: CorrectionView = {
  id: "k",
  kind: "grammar",
  original: "goed",
  replacement: "went",
  explanation: "",
  firstWord: 1,
  endWord: 2,
};

function turn(number: number, corrections: readonly CorrectionView[] = []): TurnView {
  return {
    number,
    utterance: `Sentence ${number}.`,
    utteranceFinal: true,
    typed: false,
    generation: number,
    kind: "answer",
    words: [{ text: `Answer ${number}.`, startMs: 0 }],
    heardMs: 900,
    end: "completed",
    heardText: `Answer ${number}.`,
    silenceMs: null,
    stages: [],
    turnId: `t${number}`,
    corrections,
  };
}

function show(turns: readonly TurnView[], problem: Problem | null = null) {
  const figures = { learnerSpeechMs: 0, tutorSpeechMs: 0, durationMs: 0, medianSilenceMs: 0 };
  const summary = { ...figures, turns: turns.length, turnsSaved: turns.length };
  const view = { ...NEW_SESSION, floor: "ended" as const, turns, summary };
  vi.spyOn(talk, "state", "get").mockReturnValue({ ...IDLE, phase: "over", view, problem });
  render(<Summary />);
}

afterEach(() => {
  vi.restoreAllMocks();
});

test("what was corrected is shown again, and that alone", () => {
  show([turn(1), turn(2, [NOTE]), turn(3)]);
  expect(screen.getByRole("heading", { name: "Worth remembering" })).toBeInTheDocument();
  expect(screen.getByText("went")).toBeInTheDocument();
  expect(screen.queryByText("Answer 3.")).not.toBeInTheDocument();
});

test("without a correction there is how the talk ended", () => {
  show([1, 2, 3, 4].map((number) => turn(number)));
  expect(screen.getByRole("heading", { name: "How it ended" })).toBeInTheDocument();
  expect(screen.getByText("Answer 4.")).toBeInTheDocument();
  expect(screen.queryByText("Answer 1.")).not.toBeInTheDocument();
});

test("of a talk in which nothing was said there is nothing to show", () => {
  show([]);
  expect(screen.queryByRole("heading", { level: 2 })).not.toBeInTheDocument();
  expect(screen.queryByText("You spoke")).not.toBeInTheDocument();
});

test("a talk that broke off is not praised, and one button begins another", () => {
  show([turn(1)], problemFromRefusal(refusal(Code.Unavailable, "cut", "CONNECTION_LOST")));
  expect(screen.getByRole("heading", { level: 1 })).toHaveTextContent("Your talk is over.");
  expect(screen.getByRole("alert")).toHaveTextContent("The connection was lost");
  expect(screen.getAllByRole("button").map((each) => each.textContent)).toEqual(["Another talk"]);
});

test("a talk whose sign-in ended leads to the next sign-in", () => {
  show([turn(1)], problemFromRefusal(refusal(Code.Unauthenticated, "", "SESSION_ENDED")));
  expect(screen.getByRole("button", { name: "Sign in" })).toBeInTheDocument();
});
