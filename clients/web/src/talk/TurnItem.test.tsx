import { render, screen } from "@testing-library/react";
import { describe, expect, test } from "vitest";

import { TurnItem, markWords } from "./TurnItem";
import type { CorrectionView, TurnView } from "./session-view";

const TURN: TurnView = {
  number: 1,
  utterance: "I goed home.",
  utteranceFinal: true,
  typed: false,
  generation: 1,
  kind: "answer",
  words: [
    { text: "You", startMs: 0 },
    { text: " went", startMs: 200 },
    { text: " home.", startMs: 500 },
  ],
  heardMs: 250,
  end: "",
  heardText: "",
  silenceMs: 612.4,
  stages: [],
  turnId: "t",
  corrections: [],
};
const CORRECTION: CorrectionView = {
  id: "k",
  kind: "grammar",
  original: "goed",
  replacement: "went",
  explanation: "The past of go is went.",
  firstWord: 1,
  endWord: 2,
};

function show(turn: Partial<TurnView>, replayMs: number | null = null) {
  return render(
    <ol>
      <TurnItem turn={{ ...TURN, ...turn }} learnerName="Ana" replayMs={replayMs} />
    </ol>,
  );
}

describe("a turn", () => {
  test("lights up the word that is being said, and says how long the silence was", () => {
    const { container } = show({});
    expect(container.querySelector(".word-now")).toHaveTextContent("went");
    expect(container.querySelector(".word-next")).toHaveTextContent("home.");
    expect(screen.getByText(/612 ms/)).toBeInTheDocument();
  });

  test("lights up again when it is repeated", () => {
    const { container } = show({ end: "completed", heardMs: 900 }, 510);
    expect(container.querySelector(".word-now")).toHaveTextContent("home.");
  });

  test("shows of an interrupted reply only what was heard", () => {
    const { container } = show({ end: "interrupted", heardText: "You went" });
    expect(screen.getByText("You went")).toHaveTextContent("You went — stopped here");
    expect(container.querySelector(".line-tutor")).not.toHaveTextContent("home");
  });

  test("shows no word that the end of the talk cut off", () => {
    const { container } = show({ end: "session-ended", heardText: "You" });
    expect(container.querySelector(".line-tutor")).not.toHaveTextContent("went");
  });

  test("has its corrections beside it and marks their words", () => {
    const { container } = show({ corrections: [CORRECTION] });
    expect(container.querySelector("mark")).toHaveTextContent("goed");
    expect(screen.getByRole("list", { name: "Notes on what you said" })).toHaveTextContent(
      "The past of go is went.",
    );
  });
});

test("a correction of several words is marked as one", () => {
  const pieces = markWords("Well, yesterday I go home.", [
    { ...CORRECTION, firstWord: 1, endWord: 4 },
  ]);
  expect(pieces.filter((each) => each.marked).map((each) => each.text)).toEqual(["yesterday I go"]);
});

test("marking words loses no letter, whatever the corrections say", () => {
  const text = "  I  goed home ";
  for (const [firstWord, endWord] of [
    [0, 1],
    [1, 3],
    [2, 2],
    [5, 9],
  ] as const) {
    const pieces = markWords(text, [{ ...CORRECTION, firstWord, endWord }]);
    expect(pieces.map((each) => each.text).join("")).toBe(text);
  }
});
