/** When the server is told how much of a reply was heard. Pure. */

import type { Position } from "@/audio/jitter-buffer";

// Often enough to cut a reply within a word, seldom enough to cost nothing.
const EVERY_MS = 200;

/** One report. */
export interface HeardReport {
  readonly generation: number;
  readonly audioMs: number;
}

/** Decides from each position whether a report is due. */
export class HeardReports {
  #generation = 0;
  #reportedMs = -1;

  /**
   * Takes a position and returns the report that is due, or null.
   *
   * Due: at the first sound, then every 200 ms, and when the sound has settled (it ended, was held,
   * or ran dry); with `now`, at once whatever is new.
   */
  at({ generation, heardMs, sounded, settled }: Position, now = false): HeardReport | null {
    if (generation === 0) return null;
    if (generation !== this.#generation) {
      this.#generation = generation;
      this.#reportedMs = -1;
    }
    if (!sounded) return null;
    const grown = heardMs - this.#reportedMs;
    const due = this.#reportedMs < 0 || grown >= EVERY_MS || (grown > 0 && (settled || now));
    if (!due) return null;
    this.#reportedMs = heardMs;
    return { generation, audioMs: heardMs };
  }
}
