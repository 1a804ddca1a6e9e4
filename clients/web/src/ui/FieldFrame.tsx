import type { ReactNode } from "react";

import "./field.css";

import { classes } from "./classes";
import { Icon } from "./Icon";

/** What stands around every field. */
export interface AroundField {
  readonly label: string;
  /** One quiet sentence under the field. */
  readonly hint?: ReactNode;
  /** What is wrong with it, and what would be right. Takes the hint's place. */
  readonly error?: string | undefined;
}

/** A field's label above it, and its hint or error below. */
export function FieldFrame({
  id,
  label,
  hint,
  error,
  className,
  children,
}: AroundField & {
  /** The field's own. */
  readonly id: string;
  readonly className?: string;
  readonly children: ReactNode;
}) {
  return (
    <div className={classes("field", error && "field-wrong", className)}>
      <label htmlFor={id}>{label}</label>
      {children}
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

/** What the field itself says of its frame, for screen readers. */
export function described(id: string, { hint, error }: Omit<AroundField, "label">) {
  return {
    "aria-invalid": error ? true : undefined,
    "aria-describedby": error ? `${id}-error` : hint ? `${id}-hint` : undefined,
  };
}
