/** What a conversation looks like from the learner's side: what the page draws, and nothing else. */

import type { Scenario } from "@parley/stubs/parley/types/v1/scenario_pb";

import type { Problem } from "@/rpc/problem";

/** Who may speak, as the learner sees it. */
export type Floor =
  | "connecting"
  | "listening" // the tutor waits for the learner
  | "learner" // the learner is speaking
  | "thinking" // the learner has finished, the answer is on its way
  | "tutor"
  | "held" // the tutor stopped to hear whether this is an interruption
  | "reconnecting"
  | "ended";

/** Words of a reply and where they are said in its audio. */
export interface ReplyWords {
  readonly text: string;
  readonly startMs: number;
}

/** One part of the silence before a reply. */
export interface StageView {
  readonly name: string;
  readonly durationMs: number;
  readonly note: string;
}

/** One correction. `firstWord` and `endWord` index the words of the utterance. */
export interface CorrectionView {
  readonly id: string;
  readonly kind: "grammar" | "vocabulary" | "pronunciation" | "style";
  readonly original: string;
  readonly replacement: string;
  readonly explanation: string;
  readonly firstWord: number;
  readonly endWord: number;
}

/** One turn, so far. */
export interface TurnView {
  /** Position in the conversation, from 1. */
  readonly number: number;
  readonly utterance: string;
  readonly utteranceFinal: boolean;
  readonly typed: boolean;
  /** Of the reply; 0 while there is none. */
  readonly generation: number;
  readonly kind: "" | "answer" | "opening" | "hint";
  readonly words: readonly ReplyWords[];
  readonly heardMs: number;
  /** Why the reply stopped; empty while it goes on. */
  readonly end: "" | "completed" | "interrupted" | "failed" | "session-ended";
  /** What the server says was heard; set when the reply has stopped. */
  readonly heardText: string;
  /** Measured here: end of speech to the reply's first sound; null until it sounds. */
  readonly silenceMs: number | null;
  readonly stages: readonly StageView[];
  /** In history; empty until the turn is saved. */
  readonly turnId: string;
  readonly corrections: readonly CorrectionView[];
}

/** Something worth knowing that does not end the talk. */
export interface NoticeView {
  readonly id: number;
  readonly problem: Problem;
}

/** How the session went. */
export interface SummaryView {
  readonly turns: number;
  readonly turnsSaved: number;
  readonly learnerSpeechMs: number;
  readonly tutorSpeechMs: number;
  readonly durationMs: number;
  readonly medianSilenceMs: number;
}

/** Everything that the page draws of a session. */
export interface SessionView {
  readonly floor: Floor;
  readonly conversationId: string;
  readonly engine: string;
  readonly voice: string;
  readonly scenario: Scenario | null;
  readonly generation: number;
  readonly turns: readonly TurnView[];
  /** The number of the first turn that is not known here: of a talk that another page began. */
  readonly nextTurn: number;
  readonly notices: readonly NoticeView[];
  readonly noticeCount: number;
  readonly summary: SummaryView | null;
  /** The server said that it closes; how long it still has. */
  readonly timeLeftMs: number | null;
}

/** Before anything has happened. */
export const NEW_SESSION: SessionView = {
  floor: "connecting",
  conversationId: "",
  engine: "",
  voice: "",
  scenario: null,
  generation: 0,
  turns: [],
  nextTurn: 1,
  notices: [],
  noticeCount: 0,
  summary: null,
  timeLeftMs: null,
};

/** The turn under way, or the last one. */
export function currentTurn(view: SessionView): TurnView | undefined {
  return view.turns.at(-1);
}

/** The turn whose reply has this generation. */
export function turnOf(view: SessionView, generation: number): TurnView | undefined {
  return view.turns.findLast((turn) => turn.generation === generation);
}

/** Everything that the tutor has said or is about to say in a turn. */
export function replyText(turn: TurnView): string {
  return turn.words
    .map((each) => each.text)
    .join("")
    .trim();
}
