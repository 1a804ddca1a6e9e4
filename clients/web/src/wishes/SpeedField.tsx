import { Segments } from "@/ui/Segments";

import { SPEECH_RATES } from "./talk-preferences";

const WORDS: Readonly<Record<(typeof SPEECH_RATES)[number], string>> = {
  0.7: "Slow",
  0.85: "Calm",
  1: "Natural",
  1.15: "Quick",
};

/** How fast the tutor speaks, in words. */
export function SpeedField({
  rate,
  onChoose,
}: {
  /** 1 is the voice's own; one that is none of ours is shown as the nearest. */
  readonly rate: number;
  readonly onChoose: (rate: number) => void;
}) {
  return (
    <Segments
      label="How fast the tutor speaks"
      choices={SPEECH_RATES.map((each) => [each, WORDS[each]] as const)}
      value={nearest(rate)}
      onChange={onChoose}
    />
  );
}

function nearest(rate: number): (typeof SPEECH_RATES)[number] {
  return SPEECH_RATES.reduce((best, each) =>
    Math.abs(each - rate) < Math.abs(best - rate) ? each : best,
  );
}
