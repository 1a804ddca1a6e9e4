import { useId } from "react";

import "./segments.css";

/** One of a few, side by side. */
export function Segments<T extends string | number>({
  label,
  choices,
  value,
  onChange,
}: {
  readonly label: string;
  readonly choices: readonly (readonly [value: T, words: string])[];
  readonly value: T;
  readonly onChange: (value: T) => void;
}) {
  const name = useId();
  return (
    <fieldset className="segmented">
      <legend>{label}</legend>
      <div>
        {choices.map(([each, words]) => (
          <label key={each}>
            <input
              type="radio"
              className="unseen"
              name={name}
              checked={value === each}
              onChange={() => onChange(each)}
            />
            <span>{words}</span>
          </label>
        ))}
      </div>
    </fieldset>
  );
}
