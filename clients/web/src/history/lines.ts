/** A stored conversation as it is read and played: lines on the recording's time line. Pure. */

import type { TurnRecord } from "@parley/stubs/parley/history/v1/history_pb";
import { CorrectionKind } from "@parley/stubs/parley/types/v1/feedback_pb";
import type { Word } from "@parley/stubs/parley/types/v1/speech_pb";
import { ReplyEndReason, UtteranceSource } from "@parley/stubs/parley/types/v1/turn_pb";

/** Who speaks. */
export type Side = "learner" | "tutor";

/** A word as it is shown, with the white space before it. Times are milliseconds of the recording. */
export interface LineWord {
  readonly text: string;
  /** Null where it is not known. */
  readonly startMs: number | null;
  /** True where a correction is about it. */
  readonly marked: boolean;
}

/** What one of the two said in a turn. */
export interface Line {
  /** Unique in the conversation. */
  readonly key: string;
  readonly turn: number;
  readonly side: Side;
  readonly words: readonly LineWord[];
  readonly startMs: number;
  readonly endMs: number;
  /** False where there is nothing to hear: it was typed, or the reply was only read. */
  readonly audible: boolean;
  /** True where the learner broke in, or it broke off otherwise. */
  readonly cut: boolean;
  readonly typed: boolean;
}

export interface Note {
  readonly id: string;
  readonly kind: string;
  readonly original: string;
  readonly replacement: string;
  readonly explanation: string;
}

/** A turn: its lines, and what can be learned from it. */
export interface TurnView {
  readonly number: number;
  readonly lines: readonly Line[];
  readonly notes: readonly Note[];
}

const KIND_WORDS: Readonly<Record<CorrectionKind, string>> = {
  [CorrectionKind.UNSPECIFIED]: "Note",
  [CorrectionKind.GRAMMAR]: "Grammar",
  [CorrectionKind.VOCABULARY]: "Words",
  [CorrectionKind.PRONUNCIATION]: "Sound",
  [CorrectionKind.STYLE]: "More natural",
};

/** Lays a turn out. */
export function turnView({ turn, feedback }: TurnRecord): TurnView {
  if (!turn) return { number: 0, lines: [], notes: [] };
  const corrections = feedback?.corrections ?? [];
  const lines: Line[] = [];
  const said = turn.utterance?.verbatim || turn.utterance?.clean || "";
  if (said) {
    const startMs = Number(turn.utteranceStartMs);
    const endMs = Number(turn.utteranceEndMs);
    lines.push({
      key: `${turn.number}-learner`,
      turn: turn.number,
      side: "learner",
      words: lineWords(said, turn.utterance?.words ?? [], startMs, (i) =>
        corrections.some((each) => i >= each.firstWord && i < each.endWord),
      ),
      startMs,
      endMs,
      audible: turn.source === UtteranceSource.SPEECH && endMs > startMs,
      cut: false,
      typed: turn.source === UtteranceSource.TEXT,
    });
  }
  const startMs = Number(turn.replyStartMs);
  const cut =
    turn.replyEndReason === ReplyEndReason.INTERRUPTED ||
    turn.replyEndReason === ReplyEndReason.FAILED;
  if (turn.heardText || cut) {
    lines.push({
      key: `${turn.number}-tutor`,
      turn: turn.number,
      side: "tutor",
      words: lineWords(turn.heardText, turn.replyWords, startMs, () => false),
      startMs,
      endMs: startMs + turn.heardMs,
      audible: turn.heardMs > 0,
      cut,
      typed: false,
    });
  }
  return {
    number: turn.number,
    lines,
    notes: corrections.map((each) => ({
      id: each.correctionId,
      kind: KIND_WORDS[each.kind],
      original: each.original,
      replacement: each.replacement,
      explanation: each.explanation,
    })),
  };
}

function lineWords(
  text: string,
  timed: readonly Pick<Word, "startMs">[],
  originMs: number,
  marked: (index: number) => boolean,
): readonly LineWord[] {
  const shown = text.match(/\s*\S+/g) ?? [];
  // Fewer times than words: which word is which cannot be told, so the line lights up as a whole.
  const known = timed.length >= shown.length;
  return shown.map((each, i) => {
    const time = known ? timed[i] : undefined;
    return { text: each, startMs: time ? originMs + time.startMs : null, marked: marked(i) };
  });
}

/** Where the playing stands in the text; null between the lines before the first. */
export interface Place {
  readonly line: Line;
  /** Index of the word being said; -1 where that is not known. */
  readonly word: number;
}

/**
 * The place in the text at a position of the recording.
 *
 * The line that began last counts: where one broke into the other, the one who broke in. After a
 * line has ended it stays until the next begins, so that nothing flickers in the silences.
 */
export function placeAt(lines: readonly Line[], positionMs: number): Place | null {
  let found: Line | null = null;
  for (const line of lines) {
    if (!line.audible || line.startMs > positionMs) continue;
    if (!found || line.startMs >= found.startMs) found = line;
  }
  if (!found) return null;
  const over = positionMs >= found.endMs;
  const word = over
    ? -1
    : found.words.findLastIndex((each) => each.startMs !== null && each.startMs <= positionMs);
  return { line: found, word };
}

/** Whether two places look the same. */
export function samePlace(a: Place | null, b: Place | null): boolean {
  return a?.line === b?.line && a?.word === b?.word;
}
