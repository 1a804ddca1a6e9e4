import { useId, useRef, useState } from "react";

import { Button } from "@/ui/Button";
import { Icon } from "@/ui/Icon";

import "./entries-field.css";
import { withEntry } from "./profile";

/** A short list to write: each entry with a cross, and a line for the next. */
export function EntriesField({
  label,
  hint,
  placeholder,
  entries,
  most,
  longest,
  onChange,
}: {
  readonly label: string;
  readonly hint: string;
  readonly placeholder: string;
  readonly entries: readonly string[];
  readonly most: number;
  readonly longest: number;
  readonly onChange: (entries: readonly string[]) => void;
}) {
  const id = useId();
  const [typed, setTyped] = useState("");
  const [heard, setHeard] = useState("");
  const input = useRef<HTMLInputElement>(null);
  const full = entries.length >= most;
  const add = () => {
    const next = withEntry(entries, typed, most);
    if (next !== entries) {
      onChange(next);
      setHeard(`${next.at(-1)} added`);
    }
    setTyped("");
    input.current?.focus();
  };
  return (
    <div className="field entries-field">
      <label htmlFor={id}>{label}</label>
      {entries.length > 0 && (
        <ul className="entries" aria-label={label}>
          {entries.map((each) => (
            <li key={each}>
              <span>{each}</span>
              <button
                type="button"
                aria-label={`Remove ${each}`}
                onClick={() => {
                  onChange(entries.filter((other) => other !== each));
                  setHeard(`${each} removed`);
                  input.current?.focus();
                }}
              >
                <Icon name="close" size={14} />
              </button>
            </li>
          ))}
        </ul>
      )}
      <div className="entries-line">
        <input
          id={id}
          ref={input}
          className="input"
          value={typed}
          maxLength={longest}
          disabled={full}
          placeholder={full ? "The list is full" : placeholder}
          aria-describedby={`${id}-hint`}
          onChange={(event) => setTyped(event.target.value)}
          onKeyDown={(event) => {
            if (event.key !== "Enter" || event.nativeEvent.isComposing) return;
            // Enter adds; the form is saved by its button.
            event.preventDefault();
            add();
          }}
          // What was typed and not added is what somebody meant.
          onBlur={() => {
            const next = withEntry(entries, typed, most);
            if (next !== entries) onChange(next);
            setTyped("");
          }}
        />
        <Button
          // Before the line loses the focus, which would add it already.
          onMouseDown={(event) => event.preventDefault()}
          onClick={add}
          disabled={full || !typed.trim()}
        >
          Add
        </Button>
      </div>
      <p className="field-hint" id={`${id}-hint`}>
        {hint}
      </p>
      <span role="status" className="unseen">
        {heard}
      </span>
    </div>
  );
}
