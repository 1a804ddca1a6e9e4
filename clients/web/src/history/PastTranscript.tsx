import { type Ref, memo, useEffect, useState } from "react";

import { Icon } from "@/ui/Icon";
import { classes } from "@/ui/classes";
import { clockWords } from "@/ui/words";

import "./past-transcript.css";
import type { Line, Note, Place, TurnView } from "./lines";

/** Both sides of a conversation, turn by turn, with notes beside what they are about. */
export function PastTranscript({
  ref,
  turns,
  place,
  onPlayFrom,
}: {
  readonly ref: Ref<HTMLOListElement>;
  readonly turns: readonly TurnView[];
  readonly place: Place | null;
  /** Plays from a place; without it there is nothing to hear. */
  readonly onPlayFrom?: (ms: number) => void;
}) {
  const wanted = useWantedTurn();
  return (
    <ol ref={ref} className="past" aria-label="What was said">
      {turns.map((turn) => (
        <Turn
          key={turn.number}
          turn={turn}
          wanted={turn.number === wanted}
          place={place?.line.turn === turn.number ? place : null}
          {...(onPlayFrom && { onPlayFrom })}
        />
      ))}
    </ol>
  );
}

/** The turn that the address names, as a search leads there: `#turn-3`. */
function useWantedTurn(): number {
  const [wanted] = useState(() => Number(/^#turn-(\d+)$/.exec(location.hash)?.[1] ?? 0));
  useEffect(() => {
    if (!wanted) return;
    const turn = document.getElementById(`turn-${wanted}`);
    turn?.scrollIntoView({ block: "center", behavior: "instant" });
    turn?.focus({ preventScroll: true });
  }, [wanted]);
  return wanted;
}

const Turn = memo(function Turn({
  turn,
  wanted,
  place,
  onPlayFrom,
}: {
  readonly turn: TurnView;
  readonly wanted: boolean;
  readonly place: Place | null;
  readonly onPlayFrom?: (ms: number) => void;
}) {
  return (
    <li
      id={`turn-${turn.number}`}
      tabIndex={-1}
      className={classes("past-turn", wanted && "past-wanted")}
    >
      <div className="past-lines">
        {turn.lines.map((line) => (
          <Said
            key={line.key}
            line={line}
            word={place?.line.key === line.key ? place.word : null}
            {...(onPlayFrom && line.audible && { onPlayFrom })}
          />
        ))}
      </div>
      {turn.notes.length > 0 && <Notes notes={turn.notes} />}
    </li>
  );
});

function Said({
  line,
  word,
  onPlayFrom,
}: {
  readonly line: Line;
  /** The word being said; null while the line is not being played. */
  readonly word: number | null;
  readonly onPlayFrom?: (ms: number) => void;
}) {
  const who = line.side === "learner" ? "You" : "Tutor";
  return (
    <div
      data-line={line.key}
      className={classes("past-line", `past-${line.side}`, word !== null && "past-now")}
      aria-current={word !== null || undefined}
    >
      <p className="past-who">
        {who}
        {line.typed && <span className="past-how">typed</span>}
        {onPlayFrom && (
          <button
            type="button"
            className="past-play tabular"
            aria-label={`Play from here: ${who}, at ${clockWords(line.startMs)}`}
            onClick={() => onPlayFrom(line.startMs)}
          >
            <Icon name="play" size={13} />
            {clockWords(line.startMs)}
          </button>
        )}
      </p>
      {/* The button above does the same for the keyboard; a click on the words is a short cut. */}
      {/* eslint-disable-next-line jsx-a11y/click-events-have-key-events, jsx-a11y/no-noninteractive-element-interactions */}
      <p
        className={classes("past-words", onPlayFrom && "past-playable")}
        onClick={(event) => {
          if (!onPlayFrom || getSelection()?.isCollapsed === false) return;
          const index = Number((event.target as HTMLElement).getAttribute("data-word") ?? -1);
          onPlayFrom(line.words[index]?.startMs ?? line.startMs);
        }}
      >
        {line.words.map((each, i) => (
          <span key={i}>
            {/^\s*/.exec(each.text)?.[0]}
            <span
              data-word={i}
              className={classes(each.marked && "past-marked", i === word && "past-word")}
            >
              {each.text.trimStart()}
            </span>
          </span>
        ))}
        {line.cut && (
          <span className="past-cut">
            {line.words.length > 0 ? " — you broke in" : "Stopped before a word"}
          </span>
        )}
      </p>
    </div>
  );
}

function Notes({ notes }: { readonly notes: readonly Note[] }) {
  return (
    <ul className="past-notes" aria-label="Notes on what you said">
      {notes.map((each) => (
        <li key={each.id} className="past-note">
          <span className="past-note-kind">{each.kind}</span>
          <p className="past-note-words">
            {each.original && <del>{each.original}</del>}
            {each.original && each.replacement && <Icon name="arrow-right" size={14} />}
            {each.replacement && <ins>{each.replacement}</ins>}
          </p>
          {each.explanation && <p className="past-note-why">{each.explanation}</p>}
        </li>
      ))}
    </ul>
  );
}
