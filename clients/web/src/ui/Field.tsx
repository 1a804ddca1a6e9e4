import { type InputHTMLAttributes, type ReactNode, type SelectHTMLAttributes, useId } from "react";

import "./field.css";

import { classes } from "./classes";
import { type AroundField, FieldFrame, described } from "./FieldFrame";
import { Icon } from "./Icon";

/** A line to type in, with its label, hint and error. */
export function TextField({
  label,
  hint,
  error,
  ...input
}: AroundField & InputHTMLAttributes<HTMLInputElement>) {
  const own = useId();
  const id = input.id ?? own;
  return (
    <FieldFrame id={id} label={label} hint={hint} error={error}>
      <input
        {...input}
        id={id}
        className={classes("input", input.className)}
        {...described(id, { hint, error })}
      />
    </FieldFrame>
  );
}

/** A choice from a list. */
export function SelectField({
  label,
  hint,
  error,
  children,
  ...select
}: AroundField & SelectHTMLAttributes<HTMLSelectElement>) {
  const own = useId();
  const id = select.id ?? own;
  return (
    <FieldFrame id={id} label={label} hint={hint} error={error}>
      <span className="select">
        <select
          {...select}
          id={id}
          className={classes("input", select.className)}
          {...described(id, { hint, error })}
        >
          {children}
        </select>
        <Icon name="chevron" size={18} />
      </span>
    </FieldFrame>
  );
}

/** On or off, at once. */
export function Switch({
  label,
  hint,
  checked,
  onChange,
  disabled,
}: {
  readonly label: string;
  readonly hint?: ReactNode;
  readonly checked: boolean;
  readonly onChange: (checked: boolean) => void;
  readonly disabled?: boolean;
}) {
  const id = useId();
  return (
    <div className="switch">
      <button
        type="button"
        role="switch"
        id={id}
        aria-checked={checked}
        aria-labelledby={`${id}-label`}
        aria-describedby={hint ? `${id}-hint` : undefined}
        disabled={disabled}
        onClick={() => onChange(!checked)}
      >
        <span />
      </button>
      <div>
        <label id={`${id}-label`} htmlFor={id}>
          {label}
        </label>
        {hint && (
          <p className="field-hint" id={`${id}-hint`}>
            {hint}
          </p>
        )}
      </div>
    </div>
  );
}
