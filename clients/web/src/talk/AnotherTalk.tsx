import { useState } from "react";

import { Button } from "@/ui/Button";
import { SelectField } from "@/ui/Field";
import { usePreferences } from "@/wishes/talk-preferences";

import "./another-talk.css";
import type { Catalog } from "./catalog";
import { talk } from "./talk";
import { TutorField } from "./TutorField";
import { useTalk } from "./use-talk";

/** What a talk keeps to its end, and the way to another with something else. */
export function AnotherTalk({
  catalog,
  onBegin,
}: {
  readonly catalog: Catalog;
  /** The talk that goes on is being ended. */
  readonly onBegin: () => void;
}) {
  const wishes = usePreferences();
  const scenario = useTalk((state) => state.view.scenario);
  const live = useTalk((state) => state.phase === "live");
  const [engine, setEngine] = useState(wishes.engine);
  const [scenarioId, setScenarioId] = useState(scenario?.scenarioId ?? wishes.scenarioId);
  const begin = () => {
    // A voice belongs to its tutor.
    talk.startAnother({ engine, scenarioId, ...(engine !== wishes.engine && { voice: "" }) });
    onBegin();
  };
  return (
    <fieldset className="another-talk" disabled={!live}>
      <legend>Tutor and situation</legend>
      <p>To change these, begin a new talk. What you said in this one is saved.</p>
      <TutorField engines={catalog.engines} chosen={engine} onChoose={setEngine} />
      <SelectField
        label="Situation"
        hint={catalog.scenarios.find((each) => each.scenarioId === scenarioId)?.description}
        value={scenarioId}
        onChange={(event) => setScenarioId(event.target.value)}
      >
        {catalog.scenarios.map((each) => (
          <option key={each.scenarioId} value={each.scenarioId}>
            {each.title}
          </option>
        ))}
      </SelectField>
      <Button icon="chat" onClick={begin}>
        Begin a new talk
      </Button>
    </fieldset>
  );
}
