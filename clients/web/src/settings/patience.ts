/** Patience in words: how long the tutor waits when somebody stops to think. Pure. */

/** What the contract takes for unset. */
export const USUAL_PATIENCE = 0.5;

const WORDS: readonly (readonly [upTo: number, name: string, meaning: string])[] = [
  [0.15, "Very quick", "Answers almost at once. Good when you speak without stopping."],
  [0.4, "Quick", "Gives you a short moment. Good for fluent talk."],
  [0.6, "Balanced", "Waits as most people do."],
  [0.85, "Patient", "Lets you stop and think in the middle of a sentence."],
  [1, "Very patient", "Waits long. Good when you search for words; answers come later."],
];

/** The name and the meaning of a patience from 0 to 1. */
export function patienceWords(patience: number): {
  readonly name: string;
  readonly meaning: string;
} {
  const found = WORDS.find(([upTo]) => patience <= upTo) ?? WORDS.at(-1);
  return { name: found?.[1] ?? "", meaning: found?.[2] ?? "" };
}
