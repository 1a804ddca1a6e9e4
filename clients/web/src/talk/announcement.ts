/** What a screen reader is told of a talk, beside what the tutor says aloud. Pure. */

import type { CorrectionView, TurnView } from "./session-view";

/** Puts a note into one sentence. */
export function noteInWords({ original, replacement, explanation }: CorrectionView): string {
  if (original && replacement) return `Note: not “${original}” but “${replacement}”.`;
  return `Note: ${explanation || replacement || original}`;
}

/** Returns what the notes of these turns say that were not among `told`, and adds them to it. */
export function newNotes(turns: readonly TurnView[], told: Set<string>): string[] {
  const fresh = turns.flatMap((turn) => turn.corrections).filter(({ id }) => !told.has(id));
  for (const { id } of fresh) told.add(id);
  return fresh.map(noteInWords);
}
