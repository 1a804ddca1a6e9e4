/** Light or dark: the system's wish unless the learner has one. public/theme.js does the first paint. */

import { useSyncExternalStore } from "react";

import { keep, kept } from "@/device/kept";

export type Theme = "system" | "light" | "dark";

const KEY = "parley.theme";
const GROUND = { light: "#faf6ef", dark: "#181613" } as const;
const listeners = new Set<() => void>();
const systemDark = () => matchMedia("(prefers-color-scheme: dark)");

/** The learner's wish. */
export function chosenTheme(): Theme {
  const wish = kept(KEY);
  return wish === "light" || wish === "dark" ? wish : "system";
}

/** Keeps a wish and shows it at once. */
export function chooseTheme(theme: Theme): void {
  keep(KEY, theme === "system" ? null : theme);
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
