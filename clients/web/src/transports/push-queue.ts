/**
 * The order of batches on their way up: what to send next, what to send again. Pure.
 *
 * Batches may be answered in any order; the server puts them in order by `seq`, which must have no
 * gaps. A number that is missing (a report not worth sending again) is filled with a change of
 * settings that changes nothing.
 */

import { create } from "@bufbuild/protobuf";
import {
  type ConverseRequest,
  ConverseRequestSchema,
} from "@parley/stubs/parley/conversation/v1/conversation_pb";

import type { Count } from "./link";

/** The contract's most messages in a batch. */
export const MOST_IN_A_BATCH = 50;
// The server keeps 300 messages ahead of the first missing one; less, so that it is never crossed.
const WINDOW = 250n;

/** One batch, to be sent until it is answered. */
export interface Batch {
  readonly requests: readonly ConverseRequest[];
}

/**
 * What waits and what is under way, over one connection.
 *
 * Full policy: none of its own; the session bounds what it hands over. At most `mostInFlight`
 * batches are under way; meanwhile what comes is gathered into the next.
 */
export class PushQueue {
  readonly #startSeq: bigint;
  readonly #waiting: ConverseRequest[] = [];
  readonly #again: Batch[] = [];
  readonly #inFlight = new Set<Batch>();
  #nextSeq: bigint;
  #acknowledged: bigint;

  constructor(
    private readonly mostInFlight: number,
    { seq, firstSeq }: Count,
  ) {
    this.#startSeq = seq;
    this.#acknowledged = firstSeq > 0n && firstSeq <= seq ? firstSeq - 1n : seq;
    this.#nextSeq = this.#acknowledged + 1n;
  }

  /** Messages that were not acknowledged yet. */
  get queued(): number {
    const batches = [...this.#again, ...this.#inFlight];
    return this.#waiting.length + batches.reduce((sum, { requests }) => sum + requests.length, 0);
  }

  /** Adds a message. Their `seq` grows; holes are filled. */
  add(request: ConverseRequest): void {
    for (; this.#nextSeq < request.seq; this.#nextSeq++) {
      // `start` has a number of its own, and came with the subscription.
      if (this.#nextSeq !== this.#startSeq) this.#waiting.push(filler(this.#nextSeq));
    }
    // The server has it.
    if (request.seq < this.#nextSeq) return;
    this.#waiting.push(request);
    this.#nextSeq = request.seq + 1n;
  }

  /** Returns the next batch to send, or null while none may go. */
  next(): Batch | null {
    if (this.#inFlight.size >= this.mostInFlight) return null;
    const batch = this.#again.shift() ?? this.#gather();
    if (batch) this.#inFlight.add(batch);
    return batch;
  }

  /** Takes the answer to a batch: everything up to `lastSeq` has arrived. */
  answered(batch: Batch, lastSeq: bigint): void {
    this.#inFlight.delete(batch);
    if (lastSeq > this.#acknowledged) this.#acknowledged = lastSeq;
  }

  /** A batch got no answer: it goes again, before anything newer. */
  failed(batch: Batch): void {
    if (this.#inFlight.delete(batch)) this.#again.push(batch);
  }

  #gather(): Batch | null {
    const limit = this.#acknowledged + WINDOW;
    let count = 0;
    while (count < MOST_IN_A_BATCH) {
      const request = this.#waiting[count];
      if (!request || request.seq > limit) break;
      count++;
    }
    return count > 0 ? { requests: this.#waiting.splice(0, count) } : null;
  }
}

/** A message that fills a hole: a change of settings that changes nothing. */
export function filler(seq: bigint): ConverseRequest {
  return create(ConverseRequestSchema, { seq, message: { case: "settings", value: {} } });
}
