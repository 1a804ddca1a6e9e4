import { create } from "@bufbuild/protobuf";
import { TurnRecordSchema } from "@parley/stubs/parley/history/v1/history_pb";
import { CorrectionKind } from "@parley/stubs/parley/types/v1/feedback_pb";
import { ReplyEndReason, UtteranceSource } from "@parley/stubs/parley/types/v1/turn_pb";
import { expect, test } from "vitest";

import { placeAt, samePlace, turnView } from "./lines";

const RECORD = create(TurnRecordSchema, {
  turn: {
    number: 2,
    source: UtteranceSource.SPEECH,
    utterance: {
      verbatim: "I goed home",
      clean: "I goed home",
      words: [
        { text: "I", startMs: 0, endMs: 100 },
        { text: "goed", startMs: 200, endMs: 500 },
        { text: "home", startMs: 600, endMs: 900 },
      ],
    },
    utteranceStartMs: 10_000n,
    utteranceEndMs: 11_000n,
    replyText: "You went home? How nice.",
    heardText: "You went home?",
    heardMs: 800,
    replyStartMs: 12_000n,
    replyEndReason: ReplyEndReason.INTERRUPTED,
    replyWords: [
      { text: "You", startMs: 0 },
      { text: "went", startMs: 300 },
      { text: "home?", startMs: 500 },
      { text: "How", startMs: 900 },
      { text: "nice.", startMs: 1_100 },
    ],
  },
  feedback: {
    corrections: [
      {
        correctionId: "c",
        kind: CorrectionKind.GRAMMAR,
        firstWord: 1,
        endWord: 2,
        original: "goed",
        replacement: "went",
      },
    ],
  },
});

const { lines, notes } = turnView(RECORD);

test("a turn is two lines on the recording's time line, with its notes", () => {
  expect(lines.map(({ side, startMs, endMs }) => [side, startMs, endMs])).toEqual([
    ["learner", 10_000, 11_000],
    ["tutor", 12_000, 12_800],
  ]);
  expect(lines[0]?.words.map(({ marked }) => marked)).toEqual([false, true, false]);
  expect(notes[0]).toMatchObject({ kind: "Grammar", original: "goed", replacement: "went" });
});

test("only what was heard of a reply is shown, and that it was broken off", () => {
  expect(lines[1]?.words.map(({ text }) => text).join("")).toBe("You went home?");
  expect(lines[1]?.cut).toBe(true);
});

test.each([
  [0, null],
  [10_000, ["learner", 0]],
  [10_250, ["learner", 1]],
  // Between the two the learner's line stays, without a word.
  [11_500, ["learner", -1]],
  [12_550, ["tutor", 2]],
  [60_000, ["tutor", -1]],
])("at %i ms the text stands at %j", (ms, expected) => {
  const place = placeAt(lines, ms);
  expect(place && [place.line.side, place.word]).toEqual(expected);
});

test("a line whose words have no times lights up as a whole", () => {
  const bare = create(TurnRecordSchema, RECORD);
  const untimed = turnView({ ...bare, turn: { ...RECORD.turn, replyWords: [] } as never });
  expect(placeAt(untimed.lines, 12_100)?.word).toBe(-1);
});

test("what was typed is not to be heard", () => {
  const typed = turnView({
    ...RECORD,
    turn: { ...RECORD.turn, source: UtteranceSource.TEXT } as never,
  });
  expect(typed.lines[0]).toMatchObject({ typed: true, audible: false });
  expect(placeAt(typed.lines, 10_500)).toBeNull();
});

test("two places that look the same are the same", () => {
  expect(samePlace(placeAt(lines, 10_210), placeAt(lines, 10_240))).toBe(true);
  expect(samePlace(null, placeAt(lines, 10_240))).toBe(false);
});
