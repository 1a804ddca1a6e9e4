import { type InputHTMLAttributes, useId, useState } from "react";

import "./password-field.css";

import { classes } from "./classes";
import { type AroundField, FieldFrame, described } from "./FieldFrame";

/** A password to type or paste, hidden until its owner wants to see it. */
export function PasswordField({
  label,
  hint,
  error,
  ...input
}: AroundField & Omit<InputHTMLAttributes<HTMLInputElement>, "type">) {
  const own = useId();
  const id = input.id ?? own;
  const [shown, setShown] = useState(false);
  return (
    <FieldFrame id={id} label={label} hint={hint} error={error} className="password-field">
      <span className="password-field-line">
        <input
          autoCapitalize="none"
          autoCorrect="off"
          spellCheck={false}
          maxLength={256}
          {...input}
          id={id}
          type={shown ? "text" : "password"}
          className={classes("input", input.className)}
          {...described(id, { hint, error })}
        />
        <button type="button" aria-pressed={shown} onClick={() => setShown(!shown)}>
          {/* The words stay: a pressed switch is what changes. */}
          Show<span className="unseen"> what is typed</span>
        </button>
      </span>
    </FieldFrame>
  );
}
