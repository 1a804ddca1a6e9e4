/** Cuts a snippet at what was found in it. Pure. */

export interface Piece {
  readonly text: string;
  readonly found: boolean;
}

/** A stretch, in Unicode code points as the contract counts them; JavaScript counts otherwise. */
export interface Stretch {
  readonly start: number;
  readonly end: number;
}

/** Returns the snippet in pieces. Stretches that overlap or lie outside do no harm. */
export function highlight(snippet: string, stretches: readonly Stretch[]): readonly Piece[] {
  const characters = Array.from(snippet);
  const pieces: Piece[] = [];
  const add = (from: number, to: number, found: boolean) => {
    if (to > from) pieces.push({ text: characters.slice(from, to).join(""), found });
  };
  let at = 0;
  for (const { start, end } of [...stretches].sort((a, b) => a.start - b.start)) {
    const from = Math.max(at, Math.min(start, characters.length));
    const to = Math.min(end, characters.length);
    if (to <= from) continue;
    add(at, from, false);
    add(from, to, true);
    at = to;
  }
  add(at, characters.length, false);
  return pieces;
}
