import type { Account } from "@parley/stubs/parley/user/v1/user_pb";
import { useEffect, useId, useRef, useState } from "react";

import { Switch } from "@/ui/Field";
import { prefer, usePreferences } from "@/wishes/talk-preferences";

import { Part } from "./Part";
import { USUAL_PATIENCE, patienceWords } from "./patience";
import "./patience.css";
import { SavingWords } from "./SavingWords";
import { useSaving } from "./use-saving";

// After the last touch of the slider: one call, not thirty.
const SETTLED_MS = 500;

/** How turns are taken. */
export function TalkingSection({ account }: { readonly account: Account }) {
  const taking = account.turnTaking;
  const wishes = usePreferences();
  const saving = useSaving();
  return (
    <>
      <Part
        title="Taking turns"
        about="Parley decides by itself when you have finished. Here you say how. A change counts from your next talk on."
      >
        <Patience
          patience={taking?.patience ?? USUAL_PATIENCE}
          onChange={(patience) =>
            void saving.save({ turnTaking: { patience } }, ["turn_taking.patience"])
          }
        />
        <Switch
          label="You can break in"
          hint="When you speak while the tutor speaks, the tutor stops and listens. Turn it off where it is loud around you."
          checked={!(taking?.noBargeIn ?? false)}
          onChange={(on) =>
            void saving.save({ turnTaking: { noBargeIn: !on } }, ["turn_taking.no_barge_in"])
          }
        />
        <Switch
          label="Help when you are stuck"
          hint="After a long silence the tutor offers a hint."
          checked={!(taking?.noHints ?? false)}
          onChange={(on) =>
            void saving.save({ turnTaking: { noHints: !on } }, ["turn_taking.no_hints"])
          }
        />
        <div className="part-row">
          <SavingWords saving={saving} />
        </div>
      </Part>
      <Part title="On this device" about="Kept in this browser alone.">
        <Switch
          label="Hold to talk"
          hint="You are heard only while you hold the button or the space bar. You say yourself when you have finished."
          checked={wishes.pushToTalk}
          onChange={(pushToTalk) => prefer({ pushToTalk })}
        />
        <Switch
          label="The tutor begins"
          hint="A talk opens with the tutor’s first sentence. Otherwise it waits for yours."
          checked={wishes.tutorOpens}
          onChange={(tutorOpens) => prefer({ tutorOpens })}
        />
        <Switch
          label="Record my talks"
          hint="To listen to them in History. Without it, the words are saved and the sound is not."
          checked={!wishes.noRecording}
          onChange={(on) => prefer({ noRecording: !on })}
        />
      </Part>
    </>
  );
}

function Patience({
  patience,
  onChange,
}: {
  readonly patience: number;
  readonly onChange: (patience: number) => void;
}) {
  const id = useId();
  const [shown, setShown] = useState<number | null>(null);
  const timer = useRef<ReturnType<typeof setTimeout>>(undefined);
  const unsaved = useRef<number | null>(null);
  const tell = useRef(onChange);
  useEffect(() => {
    tell.current = onChange;
  });
  useEffect(
    () => () => {
      clearTimeout(timer.current);
      // Whoever leaves at once meant it all the same.
      if (unsaved.current !== null) tell.current(unsaved.current);
    },
    [],
  );
  const value = shown ?? patience;
  const words = patienceWords(value);
  return (
    <div className="patience">
      <label htmlFor={id}>How long the tutor waits for you</label>
      <p className="patience-now">
        <strong>{words.name}.</strong> {words.meaning}
      </p>
      <input
        id={id}
        type="range"
        min={0}
        max={1}
        step={0.05}
        value={value}
        aria-valuetext={`${words.name}. ${words.meaning}`}
        onChange={(event) => {
          const next = Number(event.target.value);
          setShown(next);
          unsaved.current = next;
          clearTimeout(timer.current);
          timer.current = setTimeout(() => {
            unsaved.current = null;
            tell.current(next);
          }, SETTLED_MS);
        }}
      />
      <p className="patience-ends" aria-hidden>
        <span>Answers fast</span>
        <span>Waits long</span>
      </p>
    </div>
  );
}
