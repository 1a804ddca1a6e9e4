import { type InputHTMLAttributes, type ReactNode, useId, useState } from "react";

import "./password-field.css";

import { classes } from "./classes";
import { Icon } from "./Icon";

interface PasswordFieldProps extends Omit<InputHTMLAttributes<HTMLInputElement>, "type"> {
  readonly label: string;
  readonly hint?: ReactNode;
  readonly error?: string | undefined;
}

/** A password to type or paste, hidden until its owner wants to see it. */
export function PasswordField({ label, hint, error, ...input }: PasswordFieldProps) {
  const own = useId();
  const id = input.id ?? own;
  const [shown, setShown] = useState(false);
  const describedBy = error ? `${id}-error` : hint ? `${id}-hint` : undefined;
  return (
    <div className={classes("field", "password-field", error && "field-wrong")}>
      <label htmlFor={id}>{label}</label>
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
          aria-invalid={error ? true : undefined}
          aria-describedby={describedBy}
        />
        <button type="button" aria-pressed={shown} onClick={() => setShown(!shown)}>
          {/* The words stay: a pressed switch is what changes. */}
          Show<span className="unseen"> what is typed</span>
        </button>
      </span>
      {error ? (
        <p className="field-error" id={`${id}-error`}>
          <Icon name="warning" size={16} />
          {error}
        </p>
      ) : (
        hint && (
          <p className="field-hint" id={`${id}-hint`}>
            {hint}
          </p>
        )
      )}
    </div>
  );
}
