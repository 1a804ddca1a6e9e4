/** Light or dark: the system's wish unless the learner has one. public/theme.js does the first paint. */

import { useSyncExternalStore } from "react";

export type Theme = "system" | "light" | "dark";

const KEY = "parley.theme";
const GROUND = { light: "#faf6ef", dark: "#181613" } as const;
const listeners = new Set<() => void>();
const systemDark = () => matchMedia("(prefers-color-scheme: dark)");

/** The learner's wish. */
export function chosenTheme(): Theme {
  try {
    const kept = localStorage.getItem(KEY);
    return kept === "light" || kept === "dark" ? kept : "system";
  } catch {
    return "system";
  }
}

/** Keeps a wish and shows it at once. */
export function chooseTheme(theme: Theme): void {
  try {
    if (theme === "system") localStorage.removeItem(KEY);
    else localStorage.setItem(KEY, theme);
  } catch {
    // Not kept, but shown.
  }
  show(theme);
  for (const listener of [...listeners]) listener();
}

/** The wish, for the switch. */
export function useTheme(): Theme {
  return useSyncExternalStore((listener) => {
    listeners.add(listener);
    return () => listeners.delete(listener);
  }, chosenTheme);
}

/** Follows the system while the learner has no wish. Called once. */
export function followSystemTheme(): void {
  show(chosenTheme());
  systemDark().addEventListener("change", () => show(chosenTheme()));
}

function show(theme: Theme): void {
  const shown = theme === "system" ? (systemDark().matches ? "dark" : "light") : theme;
  document.documentElement.dataset.theme = shown;
  document.querySelector('meta[name="theme-color"]')?.setAttribute("content", GROUND[shown]);
}
