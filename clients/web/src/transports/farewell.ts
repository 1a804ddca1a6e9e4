/** The end of a session whose page goes away: said in a call that outlives the page. */

import { create } from "@bufbuild/protobuf";
import {
  type ConverseRequest,
  ConverseRequestSchema,
} from "@parley/stubs/parley/conversation/v1/conversation_pb";

import { leaving } from "@/rpc/clients";

import type { Place } from "./link";
import { MOST_IN_A_BATCH, filler } from "./push-queue";
import { AFFINITY_HEADER } from "./subscription";

/**
 * Ends a subscribed session, whose last message had the number before `seq`. Never waits.
 *
 * What was on its way is cut off with the page, and the server waits for whatever is missing: so
 * the last numbers go again, as changes that change nothing. Those that it has, it ignores.
 */
export function farewell({ conversationId, affinity }: Place, seq: bigint): void {
  leaving.conversations
    .push(
      { conversationId, requests: lastWords(seq) },
      { headers: affinity ? { [AFFINITY_HEADER]: affinity } : {} },
    )
    .catch(() => {
      // Nobody is left to hear it: the server ends the session when nobody comes back.
    });
}

/** Returns a whole batch that ends with `finish` at `seq`. Pure. */
export function lastWords(seq: bigint): ConverseRequest[] {
  const first = seq >= BigInt(MOST_IN_A_BATCH) ? seq - BigInt(MOST_IN_A_BATCH) + 1n : 1n;
  const missing = Array.from({ length: Number(seq - first) }, (_, i) => filler(first + BigInt(i)));
  return [
    ...missing,
    create(ConverseRequestSchema, { seq, message: { case: "finish", value: {} } }),
  ];
}
