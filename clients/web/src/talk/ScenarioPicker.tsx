import type { CefrLevel } from "@parley/stubs/parley/types/v1/learner_pb";
import type { Scenario } from "@parley/stubs/parley/types/v1/scenario_pb";

import { Icon } from "@/ui/Icon";

import { levelName } from "./catalog";
import "./scenario-picker.css";

// As many as a first look at the list shows: it does not jump when it comes.
const PLACEHOLDERS = 6;

/** The situations as cards, one of them chosen: a group of radio buttons. */
export function ScenarioPicker({
  scenarios,
  chosen,
  level,
  onChoose,
}: {
  readonly scenarios: readonly Scenario[] | undefined;
  readonly chosen: string;
  /** The learner's own, which is marked on the cards. */
  readonly level: CefrLevel | undefined;
  readonly onChoose: (scenarioId: string) => void;
}) {
  if (!scenarios) {
    return (
      <div className="scenarios" aria-hidden>
        {Array.from({ length: PLACEHOLDERS }, (_, i) => (
          <div key={i} className="scenario scenario-empty" />
        ))}
      </div>
    );
  }
  return (
    <fieldset className="scenarios">
      <legend className="unseen">Situation</legend>
      {scenarios.map((each) => (
        <label key={each.scenarioId} className="scenario">
          <input
            type="radio"
            name="scenario"
            className="unseen"
            value={each.scenarioId}
            checked={each.scenarioId === chosen}
            onChange={() => onChoose(each.scenarioId)}
          />
          <span className="scenario-title">{each.title}</span>
          <span className="scenario-text">{each.description}</span>
          <span className="scenario-foot">
            {levelName(each.level) && (
              <span className="scenario-level">
                {levelName(each.level)}
                {each.level === level && " · your level"}
              </span>
            )}
            <span className="scenario-mark">
              <Icon name="check" size={16} />
            </span>
          </span>
        </label>
      ))}
    </fieldset>
  );
}
