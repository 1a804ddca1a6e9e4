/**
 * The order of batches on their way up: what to send next, what to send again. Pure.
 *
 * Batches may be answered in any order; the server puts them in order by `seq`, which must have no
 * gaps. A number that is missing (a report not worth sending again) is filled with a ping.
 */

import { create } from "@bufbuild/protobuf";
import {
  type ConverseRequest,
  ConverseRequestSchema,
} from "@parley/stubs/parley/conversation/v1/conversation_pb";

/** The contract's most messages in a batch. */
export const MOST_IN_A_BATCH = 50;
// The server keeps 300 messages ahead of the first missing one; less, so that it is never crossed.
const WINDOW = 250;

/** One batch, to be sent until it is answered. */
export interface Batch {
  readonly requests: readonly ConverseRequest[];
}

/**
 * What waits and what is under way.
 *
 * Full policy: none of its own; the session bounds what it hands over. At most `mostInFlight`
 * batches are under way; meanwhile what comes is gathered into the next.
 */
export class PushQueue {
  readonly #waiting: ConverseRequest[] = [];
  readonly #again: Batch[] = [];
  readonly #inFlight = new Set<Batch>();
  #nextSeq: bigint;
  #acknowledged: bigint;
  #alone = true;

  /** `acknowledged`: the last number that the server said it has, over earlier connections. */
  constructor(
    private readonly mostInFlight: number,
    acknowledged = 0n,
  ) {
    this.#acknowledged = acknowledged;
    this.#nextSeq = acknowledged + 1n;
  }

  /** The last number up to which the server has everything. */
  get acknowledged(): bigint {
    return this.#acknowledged;
  }

  /** Messages that were not acknowledged yet. */
  get queued(): number {
    const batches = [...this.#again, ...this.#inFlight];
    return this.#waiting.length + batches.reduce((sum, { requests }) => sum + requests.length, 0);
  }

  /** Adds a message. Their `seq` grows; holes are filled. */
  add(request: ConverseRequest): void {
    for (; this.#nextSeq < request.seq; this.#nextSeq++) this.#waiting.push(filler(this.#nextSeq));
    // The server has it.
    if (request.seq < this.#nextSeq) return;
    this.#waiting.push(request);
    this.#nextSeq = request.seq + 1n;
  }

  /** Returns the next batch to send, or null while none may go. */
  next(): Batch | null {
    // The first tells the server where the count begins: nothing may overtake it.
    const most = this.#alone ? 1 : this.mostInFlight;
    if (this.#inFlight.size >= most) return null;
    const batch = this.#again.shift() ?? this.#gather();
    if (batch) this.#inFlight.add(batch);
    return batch;
  }

  /** Takes the answer to a batch: everything up to `lastSeq` has arrived. */
  answered(batch: Batch, lastSeq: bigint): void {
    this.#inFlight.delete(batch);
    this.#alone = false;
    if (lastSeq > this.#acknowledged) this.#acknowledged = lastSeq;
  }

  /** A batch got no answer: it goes again, before anything newer. */
  failed(batch: Batch): void {
    if (this.#inFlight.delete(batch)) this.#again.push(batch);
  }

  #gather(): Batch | null {
    const limit = this.#acknowledged + BigInt(WINDOW);
    let count = 0;
    while (count < MOST_IN_A_BATCH) {
      const request = this.#waiting[count];
      if (!request || request.seq > limit) break;
      count++;
    }
    return count > 0 ? { requests: this.#waiting.splice(0, count) } : null;
  }
}

function filler(seq: bigint): ConverseRequest {
  return create(ConverseRequestSchema, { seq, message: { case: "ping", value: { nonce: 0n } } });
}
