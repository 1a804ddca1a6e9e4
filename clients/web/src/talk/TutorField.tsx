import type { EngineInfo } from "@parley/stubs/parley/ai/v1/ai_pb";

import { SelectField } from "@/ui/Field";

/** Who hears and answers; nothing where that is not known, and the server chooses. */
export function TutorField({
  engines,
  chosen,
  onChoose,
}: {
  readonly engines: readonly EngineInfo[];
  /** Empty: the server's choice. */
  readonly chosen: string;
  readonly onChoose: (engine: string) => void;
}) {
  if (engines.length === 0) return null;
  const inUse = engines.find((each) => (chosen ? each.name === chosen : each.default));
  return (
    <SelectField
      label="Tutor"
      hint={inUse?.available === false ? inUse.unavailableReason : inUse?.description}
      value={chosen}
      onChange={(event) => onChoose(event.target.value)}
    >
      <option value="">The server’s choice</option>
      {engines.map((each) => (
        <option key={each.name} value={each.name} disabled={!each.available}>
          {each.name}
          {each.available ? "" : " (not available)"}
        </option>
      ))}
    </SelectField>
  );
}
