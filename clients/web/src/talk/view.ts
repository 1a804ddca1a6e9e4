/**
 * What every event makes of what the page draws of a session: a pure reducer.
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
import { ReplyEndReason } from "@parley/stubs/parley/types/v1/turn_pb";

import { problemFromRefusal } from "@/rpc/problem";
import { refusalFromStatus } from "@/rpc/refusal";

import {
  END_NAMES,
  KIND_NAMES,
  correctionViews,
  spokenWords,
  stageViews,
  summaryView,
  wordsOf,
} from "./for-people";
import { type SessionView, type StageView, currentTurn, turnOf } from "./session-view";
import { isTaken, openTurn, tutorsFloor, withFloor, withTurn, withoutWords } from "./turns";

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
      return over(brokenOff(view));
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
      const { summary } = message.value;
      return { ...over(view), summary: summary ? summaryView(summary) : null };
    }
    default:
      return view;
  }
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
    nextTurn: message.nextTurn || 1,
    timeLeftMs: null,
  };
}

function transcript(view: SessionView, number: number, update: TranscriptUpdate): SessionView {
  const turn = openTurn(view, number);
  if (turn.utteranceFinal && !update.final) return view;
  const utterance = wordsOf(update);
  if (update.final && utterance === "") return withoutWords(view, turn);
  const next = withTurn(view, { ...turn, utterance, utteranceFinal: update.final });
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
    // Who is helped has said nothing that counts.
    utterance: kind === ReplyKind.HINT && !turn.utteranceFinal ? "" : turn.utterance,
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
  return withTurn(view, { ...turn, words: [...turn.words, ...spokenWords(text)] });
}

/** Nothing more comes: words that became no turn go. */
function over(view: SessionView): SessionView {
  return { ...view, floor: "ended", turns: view.turns.filter(isTaken) };
}

/** Nothing more will come of a reply that is under way: it stopped where it was heard last. */
function brokenOff(view: SessionView): SessionView {
  const turn = currentTurn(view);
  if (!turn || turn.generation === 0 || turn.end !== "") return view;
  const heard = turn.words.filter(({ startMs }) => startMs < turn.heardMs);
  const heardText = heard
    .map(({ text }) => text)
    .join("")
    .trim();
  return withTurn(view, { ...turn, end: "session-ended", heardText });
}
