import { IconButton } from "@/ui/Button";

import { type Theme, chooseTheme, useTheme } from "./theme";

const NEXT: Record<Theme, Theme> = { system: "light", light: "dark", dark: "system" };
const WORDS: Record<Theme, string> = {
  system: "Colours: as the system",
  light: "Colours: light",
  dark: "Colours: dark",
};

/** One button through three wishes. */
export function ThemeSwitch() {
  const theme = useTheme();
  return (
    <IconButton
      className="theme-switch"
      icon={theme === "system" ? "auto" : theme === "light" ? "sun" : "moon"}
      label={WORDS[theme]}
      onClick={() => chooseTheme(NEXT[theme])}
    />
  );
}
