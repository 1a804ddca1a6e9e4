import { chooseTheme, useTheme } from "@/app/theme";
import { Segments } from "@/ui/Segments";

import { Part } from "./Part";

/** Light or dark. */
export function LookSection() {
  const theme = useTheme();
  return (
    <Part
      title="Look"
      about="Kept in this browser alone. The page also follows your system’s wishes for less motion and larger text."
    >
      <Segments
        label="Colours"
        choices={[
          ["system", "As the system"],
          ["light", "Light"],
          ["dark", "Dark"],
        ]}
        value={theme}
        onChange={chooseTheme}
      />
    </Part>
  );
}
