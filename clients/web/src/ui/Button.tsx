import type { ButtonHTMLAttributes, ReactNode } from "react";

import "./button.css";

import { classes } from "./classes";
import { Icon, type IconName } from "./Icon";
import { Spinner } from "./Spinner";

interface ButtonProps extends ButtonHTMLAttributes<HTMLButtonElement> {
  /** How much it asks for attention; one primary button a view. */
  readonly look?: "primary" | "plain" | "quiet" | "danger";
  readonly size?: "m" | "s";
  readonly icon?: IconName;
  /** True while what it began goes on: it shows so, and cannot be pressed again. */
  readonly busy?: boolean;
  readonly children: ReactNode;
}

/** A button with words. */
export function Button({
  look = "plain",
  size = "m",
  icon,
  busy = false,
  className,
  children,
  disabled,
  type = "button",
  ...rest
}: ButtonProps) {
  return (
    <button
      {...rest}
      type={type}
      className={classes("button", `button-${look}`, `button-${size}`, className)}
      disabled={disabled === true || busy}
      aria-busy={busy || undefined}
    >
      {busy ? <Spinner /> : icon && <Icon name={icon} />}
      <span>{children}</span>
    </button>
  );
}

interface IconButtonProps extends Omit<ButtonHTMLAttributes<HTMLButtonElement>, "children"> {
  readonly icon: IconName;
  /** What it does, in words: read aloud and shown on hover. */
  readonly label: string;
  /** For a switch: whether it is on. */
  readonly pressed?: boolean;
  readonly size?: number;
}

/** A round button with an icon, and its words for those who cannot see it. */
export function IconButton({
  icon,
  label,
  pressed,
  size = 20,
  className,
  type = "button",
  ...rest
}: IconButtonProps) {
  return (
    <button
      {...rest}
      type={type}
      className={classes("icon-button", className)}
      aria-label={label}
      aria-pressed={pressed}
      title={label}
    >
      <Icon name={icon} size={size} />
    </button>
  );
}
