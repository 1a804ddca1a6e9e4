/** The turns of a view, and who has its floor: small changes, each a new view. Pure. */

import { type Floor, type SessionView, type TurnView, currentTurn } from "./session-view";

/** The turn with this number, new where there is none; 0 means the one under way, or the next. */
export function openTurn(view: SessionView, number: number): TurnView {
  const known = view.turns.find((turn) => turn.number === number);
  if (known) return known;
  if (number > 0) return newTurn(number);
  const current = currentTurn(view);
  if (!current) return newTurn(view.nextTurn);
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

/** Whether a turn became one: of sounds that did not, words may have been shown. */
export function isTaken({ generation, utteranceFinal }: TurnView): boolean {
  return generation > 0 || utteranceFinal;
}

/** Takes back what was heard of a turn: a "mhm", a cough, the tutor's own echo. */
export function withoutWords(view: SessionView, turn: TurnView): SessionView {
  if (turn.generation > 0) {
    return withTurn(view, { ...turn, utterance: "", utteranceFinal: false });
  }
  const turns = view.turns.filter(({ number }) => number !== turn.number);
  return withFloor({ ...view, turns }, view.floor === "learner" ? "listening" : view.floor);
}

/** Puts a turn in its place, over the one that has its number. */
export function withTurn(view: SessionView, turn: TurnView): SessionView {
  const at = view.turns.findIndex((each) => each.number >= turn.number);
  if (at < 0) return { ...view, turns: [...view.turns, turn] };
  const replaced = view.turns[at]?.number === turn.number ? 1 : 0;
  return { ...view, turns: view.turns.toSpliced(at, replaced, turn) };
}

/** Whether the tutor speaks, or is about to. */
export function tutorsFloor({ floor }: SessionView): boolean {
  return floor === "tutor" || floor === "held" || floor === "thinking";
}

/** Gives the floor away; where the session has ended it stays so. */
export function withFloor(view: SessionView, floor: Floor): SessionView {
  return view.floor === "ended" || view.floor === floor ? view : { ...view, floor };
}
