import { memo } from "react";

import { classes } from "@/ui/classes";
import { Icon } from "@/ui/Icon";

import "./turn-item.css";
import type { CorrectionView, TurnView } from "./session-view";

const KIND_WORDS: Record<CorrectionView["kind"], string> = {
  grammar: "Grammar",
  vocabulary: "Words",
  pronunciation: "Sound",
  style: "More natural",
};

/** One turn: what the learner said, what the tutor said, and beside it what can be learned from it. */
export const TurnItem = memo(function TurnItem({
  turn,
  learnerName,
  replayMs,
}: {
  readonly turn: TurnView;
  readonly learnerName: string;
  /** How far a repetition of its reply has come; null while there is none. */
  readonly replayMs: number | null;
}) {
  const spoke = turn.utterance !== "";
  return (
    <li className={classes("turn", turn.corrections.length > 0 && "turn-noted")}>
      <div className="turn-lines">
        {spoke && (
          <div className="line line-learner">
            <span className="who">{learnerName}</span>
            <p className={classes(!turn.utteranceFinal && "line-partial")}>
              <Utterance turn={turn} />
            </p>
          </div>
        )}
        {turn.generation > 0 && (
          <div className="line line-tutor">
            <span className="who">
              Tutor
              {turn.kind === "hint" && (
                <span className="line-badge">
                  <Icon name="bulb" size={14} /> a hint
                </span>
              )}
              {turn.silenceMs !== null && turn.kind === "answer" && (
                <span className="line-silence tabular" title="The silence before this answer">
                  <Icon name="clock" size={13} /> {Math.round(turn.silenceMs)} ms
                </span>
              )}
            </span>
            <Reply turn={turn} replayMs={replayMs} />
          </div>
        )}
      </div>
      {turn.corrections.length > 0 && (
        <ul className="notes" aria-label="Notes on what you said">
          {turn.corrections.map((each) => (
            <li key={each.id} className="note">
              <span className="note-kind">{KIND_WORDS[each.kind]}</span>
              <p className="note-words">
                {each.original && <del>{each.original}</del>}
                {each.original && each.replacement && <Icon name="arrow-right" size={14} />}
                {each.replacement && <ins>{each.replacement}</ins>}
              </p>
              {each.explanation && <p className="note-why">{each.explanation}</p>}
            </li>
          ))}
        </ul>
      )}
    </li>
  );
});

function Utterance({ turn }: { readonly turn: TurnView }) {
  return markWords(turn.utterance, turn.corrections).map(({ text, marked }, i) =>
    marked ? <mark key={i}>{text}</mark> : <span key={i}>{text}</span>,
  );
}

/** Cuts an utterance at the words that corrections are about. Pure. */
export function markWords(
  utterance: string,
  corrections: readonly CorrectionView[],
): { text: string; marked: boolean }[] {
  if (corrections.length === 0) return [{ text: utterance, marked: false }];
  const pieces: { text: string; marked: boolean }[] = [];
  let word = 0;
  for (const text of utterance.split(/(\s+)/)) {
    const blank = text.trim() === "";
    // The blank between two words of one correction is part of it.
    const after = blank ? 1 : 0;
    const marked = corrections.some(
      (each) => word >= each.firstWord + after && word < each.endWord,
    );
    const last = pieces.at(-1);
    if (last?.marked === marked) last.text += text;
    else pieces.push({ text, marked });
    if (!blank) word += 1;
  }
  return pieces;
}

function Reply({ turn, replayMs }: { readonly turn: TurnView; readonly replayMs: number | null }) {
  const playedMs = replayMs ?? turn.heardMs;
  const cut = turn.end !== "" && turn.end !== "completed";
  if (cut && replayMs === null) {
    return (
      <p>
        {turn.heardText}
        <span className="line-cut">
          {" "}
          {turn.heardText ? "— stopped here" : "— stopped before a word"}
        </span>
      </p>
    );
  }
  if (turn.words.length === 0 && turn.end === "") {
    return (
      <p className="line-partial" aria-label="The answer is on its way">
        …
      </p>
    );
  }
  // Whoever only reads has no voice to follow.
  const following = replayMs !== null || (turn.end === "" && turn.heardMs > 0) || isPlaying(turn);
  if (!following) return <p>{turn.words.map((each) => each.text).join("") || turn.heardText}</p>;
  const lit = turn.words.findLastIndex((each) => each.startMs <= playedMs);
  return (
    <p>
      {turn.words.map((each, i) => {
        const space = /^\s*/.exec(each.text)?.[0] ?? "";
        return (
          <span key={i}>
            {space}
            <span className={i === lit ? "word-now" : i > lit ? "word-next" : undefined}>
              {each.text.slice(space.length)}
            </span>
          </span>
        );
      })}
    </p>
  );
}

/** The last words of a reply that has been sent whole are still being said. */
function isPlaying(turn: TurnView): boolean {
  const last = turn.words.at(-1);
  return (
    turn.end === "completed" &&
    turn.heardMs > 0 &&
    last !== undefined &&
    turn.heardMs < last.startMs
  );
}
