/**
 * What a conversation looks like from the learner's side: a pure reducer.
 *
 * `reduce(view, event)` knows no connection, no clock and no page. Two rules hold for every sequence
 * of events: output of an older generation changes nothing, and what is shown of a reply never
 * shrinks except when the server says what was really heard.
 */

import {
  type ConverseResponse,
  ReplyKind,
  type ReplyText,
  type SessionStarted,
  type TranscriptUpdate,
} from "@parley/stubs/parley/conversation/v1/conversation_pb";
import { CorrectionKind, type Feedback } from "@parley/stubs/parley/types/v1/feedback_pb";
import type { Scenario } from "@parley/stubs/parley/types/v1/scenario_pb";
import { ReplyEndReason, type Stage, StageKind } from "@parley/stubs/parley/types/v1/turn_pb";

import { type Problem, problemFromRefusal } from "@/rpc/problem";
import { refusalFromStatus } from "@/rpc/refusal";

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
  readonly notices: readonly NoticeView[];
  readonly noticeCount: number;
  readonly summary: SummaryView | null;
  /** The server said that it closes; how long it still has. */
  readonly timeLeftMs: number | null;
}

/** What only this side knows. */
export type LocalEvent =
  | { readonly kind: "played"; readonly generation: number; readonly audioMs: number }
  | { readonly kind: "sounded"; readonly generation: number; readonly silenceMs: number | null }
  | { readonly kind: "stages"; readonly generation: number; readonly stages: readonly StageView[] }
  | { readonly kind: "connection"; readonly connected: boolean }
  | { readonly kind: "typed"; readonly text: string }
  | { readonly kind: "dismissed"; readonly id: number }
  | { readonly kind: "over" };

export type Event = ConverseResponse | LocalEvent;

// Notices shown at once; older ones give way.
const NOTICES_KEPT = 2;

/** Before anything has happened. */
export const NEW_SESSION: SessionView = {
  floor: "connecting",
  conversationId: "",
  engine: "",
  voice: "",
  scenario: null,
  generation: 0,
  turns: [],
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

/**
 * Whether a message belongs to a generation that a newer one has replaced.
 *
 * Only output counts: a saved turn or its feedback may come long after.
 */
export function isStale(view: SessionView, { generation, message }: ConverseResponse): boolean {
  const output = message.case?.startsWith("reply") ?? false;
  return output && generation > 0n && Number(generation) < view.generation;
}

/** Returns the view after an event. Total: an unknown event changes nothing. */
export function reduce(view: SessionView, event: Event): SessionView {
  return "$typeName" in event ? reduceResponse(view, event) : reduceLocal(view, event);
}

function reduceLocal(view: SessionView, event: LocalEvent): SessionView {
  switch (event.kind) {
    case "played": {
      const turn = turnOf(view, event.generation);
      if (!turn || event.audioMs <= turn.heardMs) return view;
      // The last words of a reply that is complete are still being played.
      if (turn.end !== "" && turn.end !== "completed") return view;
      return withTurn(view, { ...turn, heardMs: event.audioMs });
    }
    case "sounded": {
      const turn = turnOf(view, event.generation);
      if (!turn || turn.generation < view.generation) return view;
      const next = withTurn(view, { ...turn, silenceMs: event.silenceMs });
      return turn.end === "" && view.floor !== "held" ? withFloor(next, "tutor") : next;
    }
    case "stages": {
      const turn = turnOf(view, event.generation);
      return turn ? withTurn(view, { ...turn, stages: event.stages }) : view;
    }
    case "connection":
      return withFloor(view, event.connected ? "listening" : "reconnecting");
    case "typed": {
      const turn = openTurn(view, 0);
      const next = { ...turn, utterance: event.text, utteranceFinal: true, typed: true };
      return withFloor(withTurn(view, next), "thinking");
    }
    case "dismissed":
      return { ...view, notices: view.notices.filter((each) => each.id !== event.id) };
    case "over":
      return { ...view, floor: "ended" };
  }
}

function reduceResponse(view: SessionView, response: ConverseResponse): SessionView {
  if (isStale(view, response)) return view;
  const { message } = response;
  const generation = Number(response.generation);
  switch (message.case) {
    case "started":
      return started(view, message.value);
    case "speechStarted":
      // Speech over a reply is the server's to judge; until then the tutor keeps the floor.
      return tutorsFloor(view) ? view : withFloor(view, "learner");
    case "speechEnded":
      return tutorsFloor(view) ? view : withFloor(view, "listening");
    case "transcript":
      return transcript(view, response.turn, message.value);
    case "replyStarted":
      return replyStarted(view, response.turn, generation, message.value.kind);
    case "replyText":
      return addReplyText(view, generation, message.value);
    case "replyPaused":
      return withFloor(view, "held");
    case "replyResumed":
      return withFloor(view, "tutor");
    case "replyEnded": {
      const turn = turnOf(view, generation);
      if (!turn) return view;
      const { reason, heardText, heardMs, stages } = message.value;
      const next = withTurn(view, {
        ...turn,
        end: END_NAMES[reason] ?? "completed",
        heardText: heardText.trim(),
        heardMs:
          reason === ReplyEndReason.COMPLETED ? turn.heardMs : Math.max(turn.heardMs, heardMs),
        stages: turn.stages.length > 0 ? turn.stages : stageViews(stages),
      });
      return withFloor(next, view.floor === "learner" ? "learner" : "listening");
    }
    case "turnSaved": {
      const { number, turnId } = message.value;
      const turn = view.turns.find((each) => each.number === number);
      return turn ? withTurn(view, { ...turn, turnId }) : view;
    }
    case "feedback": {
      const { turnId, feedback } = message.value;
      const turn = view.turns.find((each) => each.turnId === turnId);
      if (!turn || !feedback) return view;
      return withTurn(view, { ...turn, corrections: correctionViews(feedback) });
    }
    case "goAway":
      return { ...view, timeLeftMs: message.value.timeLeftMs };
    case "notice": {
      // A fatal one is told by the end of the session that follows.
      if (message.value.fatal) return view;
      const problem = problemFromRefusal(refusalFromStatus(message.value.status));
      const id = view.noticeCount + 1;
      const others = view.notices.filter((each) => each.problem.title !== problem.title);
      return {
        ...view,
        noticeCount: id,
        notices: [...others, { id, problem }].slice(-NOTICES_KEPT),
      };
    }
    case "ended": {
      const summary = message.value.summary;
      return {
        ...view,
        floor: "ended",
        summary: summary
          ? {
              turns: summary.turns,
              turnsSaved: summary.turnsSaved,
              learnerSpeechMs: Number(summary.learnerSpeechMs),
              tutorSpeechMs: Number(summary.tutorSpeechMs),
              durationMs: Number(summary.durationMs),
              medianSilenceMs: summary.medianSilenceMs,
            }
          : null,
      };
    }
    default:
      return view;
  }
}

const END_NAMES: Partial<Record<ReplyEndReason, TurnView["end"]>> = {
  [ReplyEndReason.COMPLETED]: "completed",
  [ReplyEndReason.INTERRUPTED]: "interrupted",
  [ReplyEndReason.FAILED]: "failed",
  [ReplyEndReason.SESSION_ENDED]: "session-ended",
};
const KIND_NAMES: Partial<Record<ReplyKind, TurnView["kind"]>> = {
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

function started(view: SessionView, message: SessionStarted): SessionView {
  const turn = currentTurn(view);
  const replying = message.resumed && turn !== undefined && turn.generation > 0 && turn.end === "";
  return {
    ...withFloor(view, replying ? "tutor" : "listening"),
    conversationId: message.conversationId,
    engine: message.engine,
    voice: message.voice,
    scenario: message.scenario ?? view.scenario,
    timeLeftMs: null,
  };
}

function transcript(view: SessionView, number: number, update: TranscriptUpdate): SessionView {
  const turn = openTurn(view, number);
  if (turn.utteranceFinal && !update.final) return view;
  const words = update.transcript;
  const next = withTurn(view, {
    ...turn,
    utterance: words?.verbatim || words?.clean || "",
    utteranceFinal: update.final,
  });
  const tutorSounds = view.floor === "tutor" || view.floor === "held";
  return update.final && !tutorSounds ? withFloor(next, "thinking") : next;
}

function replyStarted(
  view: SessionView,
  number: number,
  generation: number,
  kind: ReplyKind,
): SessionView {
  const turn = openTurn(view, number);
  const next = withTurn(view, {
    ...turn,
    generation,
    kind: KIND_NAMES[kind] ?? "answer",
    // A new generation of the same turn starts from nothing.
    words: [],
    heardMs: 0,
    end: "",
    heardText: "",
    silenceMs: null,
    stages: [],
  });
  return withFloor({ ...next, generation: Math.max(view.generation, generation) }, "thinking");
}

function addReplyText(view: SessionView, generation: number, text: ReplyText): SessionView {
  const turn = turnOf(view, generation);
  if (turn?.end !== "") return view;
  return withTurn(view, { ...turn, words: [...turn.words, ...spread(text)] });
}

/**
 * Cuts a stretch of the reply at its words, so that each lights up when it is spoken.
 *
 * Falls back to the whole stretch where the words do not make up the text.
 */
function spread({ text, audioOffsetMs, words }: ReplyText): ReplyWords[] {
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

/** The turn with this number, new where there is none; 0 means the one under way, or the next. */
function openTurn(view: SessionView, number: number): TurnView {
  const known = view.turns.find((turn) => turn.number === number);
  if (known) return known;
  if (number > 0) return newTurn(number);
  const current = currentTurn(view);
  if (!current) return newTurn(1);
  return current.generation > 0 || current.utteranceFinal ? newTurn(current.number + 1) : current;
}

function newTurn(number: number): TurnView {
  return {
    number,
    utterance: "",
    utteranceFinal: false,
    typed: false,
    generation: 0,
    kind: "",
    words: [],
    heardMs: 0,
    end: "",
    heardText: "",
    silenceMs: null,
    stages: [],
    turnId: "",
    corrections: [],
  };
}

function withTurn(view: SessionView, turn: TurnView): SessionView {
  const at = view.turns.findIndex((each) => each.number >= turn.number);
  if (at < 0) return { ...view, turns: [...view.turns, turn] };
  const replaced = view.turns[at]?.number === turn.number ? 1 : 0;
  return { ...view, turns: view.turns.toSpliced(at, replaced, turn) };
}

function tutorsFloor({ floor }: SessionView): boolean {
  return floor === "tutor" || floor === "held" || floor === "thinking";
}

function withFloor(view: SessionView, floor: Floor): SessionView {
  return view.floor === "ended" || view.floor === floor ? view : { ...view, floor };
}
