/** Parts of the server's messages as they are shown. Pure. */

import {
  ReplyKind,
  type ReplyText,
  type SessionSummary,
  type TranscriptUpdate,
} from "@parley/stubs/parley/conversation/v1/conversation_pb";
import { CorrectionKind, type Feedback } from "@parley/stubs/parley/types/v1/feedback_pb";
import { ReplyEndReason, type Stage, StageKind } from "@parley/stubs/parley/types/v1/turn_pb";

import type { CorrectionView, ReplyWords, StageView, SummaryView, TurnView } from "./session-view";

/** Why a reply stopped; what is not here is taken for its good end. */
export const END_NAMES: Partial<Record<ReplyEndReason, TurnView["end"]>> = {
  [ReplyEndReason.COMPLETED]: "completed",
  [ReplyEndReason.INTERRUPTED]: "interrupted",
  [ReplyEndReason.FAILED]: "failed",
  [ReplyEndReason.SESSION_ENDED]: "session-ended",
};

/** Why the tutor spoke. */
export const KIND_NAMES: Partial<Record<ReplyKind, TurnView["kind"]>> = {
  [ReplyKind.ANSWER]: "answer",
  [ReplyKind.OPENING]: "opening",
  [ReplyKind.HINT]: "hint",
};

const CORRECTION_NAMES: Partial<Record<CorrectionKind, CorrectionView["kind"]>> = {
  [CorrectionKind.GRAMMAR]: "grammar",
  [CorrectionKind.VOCABULARY]: "vocabulary",
  [CorrectionKind.PRONUNCIATION]: "pronunciation",
  [CorrectionKind.STYLE]: "style",
};

/** Names the server's stages for people. */
export function stageViews(stages: readonly Stage[]): StageView[] {
  return stages.map(({ kind, durationMs, note }) => ({
    name: (StageKind[kind] as string | undefined)?.toLowerCase().replaceAll("_", " ") ?? "other",
    durationMs,
    note,
  }));
}

/** The corrections of a feedback, for people. */
export function correctionViews(feedback: Feedback): CorrectionView[] {
  return feedback.corrections.map((each) => ({
    id: each.correctionId,
    kind: CORRECTION_NAMES[each.kind] ?? "grammar",
    original: each.original,
    replacement: each.replacement,
    explanation: each.explanation,
    firstWord: each.firstWord,
    endWord: each.endWord,
  }));
}

/** What the learner is heard to say; empty where that is nothing. */
export function wordsOf({ transcript }: TranscriptUpdate): string {
  return transcript?.verbatim || transcript?.clean || "";
}

/** How a session went. */
export function summaryView(summary: SessionSummary): SummaryView {
  return {
    turns: summary.turns,
    turnsSaved: summary.turnsSaved,
    learnerSpeechMs: Number(summary.learnerSpeechMs),
    tutorSpeechMs: Number(summary.tutorSpeechMs),
    durationMs: Number(summary.durationMs),
    medianSilenceMs: summary.medianSilenceMs,
  };
}

/**
 * Cuts a stretch of the reply at its words, so that each lights up when it is spoken.
 *
 * Falls back to the whole stretch where the words do not make up the text.
 */
export function spokenWords({ text, audioOffsetMs, words }: ReplyText): ReplyWords[] {
  const parts: ReplyWords[] = [];
  let rest = text;
  for (const word of words) {
    const found = word.text === "" ? -1 : rest.indexOf(word.text);
    if (found < 0) return [{ text, startMs: audioOffsetMs }];
    const end = found + word.text.length;
    parts.push({ text: rest.slice(0, end), startMs: word.startMs });
    rest = rest.slice(end);
  }
  const last = parts.pop();
  if (!last) return [{ text, startMs: audioOffsetMs }];
  return [...parts, { ...last, text: last.text + rest }];
}
