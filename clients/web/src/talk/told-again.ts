/** What the server tells again of a talk that another page held: shown, and not said again. Pure. */

import type { ConverseResponse } from "@parley/stubs/parley/conversation/v1/conversation_pb";

import type { LeftTalk } from "./left-talk";

/** Tells what is old news. */
export class ToldAgain {
  constructor(private readonly left: LeftTalk) {}

  /** How long the talk had been going, in milliseconds of the wall's clock. */
  get goingMs(): number {
    return Math.max(0, Date.now() - this.left.began);
  }

  /**
   * Whether a message only shows what the other page has carried out already.
   *
   * The reply that it had not played to its end is none of those: it is said again, from its
   * beginning, since nobody remembers the half of a sentence.
   */
  covers({ seq, generation }: ConverseResponse): boolean {
    const handled = seq !== 0n && seq <= this.left.lastSeq;
    return handled && (generation === 0n || Number(generation) !== this.left.unheard);
  }
}
