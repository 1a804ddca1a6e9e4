/** What a screen reader is told of a talk, beside what the tutor says aloud. Pure. */

import { type CorrectionView, type TurnView, replyText } from "./session-view";

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

/**
 * Returns the replies of these turns that are over and were not among `told`, and adds them to it.
 *
 * For whoever has asked the tutor to be silent: a reply is read whole, not as its pieces come.
 */
export function newReplies(turns: readonly TurnView[], told: Set<string>): string[] {
  const fresh = turns.filter(
    ({ generation, end }) => generation > 0 && end !== "" && !told.has(`reply ${generation}`),
  );
  for (const { generation } of fresh) told.add(`reply ${generation}`);
  return fresh.map((turn) => (turn.end === "completed" ? replyText(turn) : turn.heardText));
}
