/** The downlink of both grpc-web transports: `Subscribe`, read to its end. */

import type {
  ConverseResponse,
  StartSession,
} from "@parley/stubs/parley/conversation/v1/conversation_pb";

import { conversations } from "@/rpc/clients";
import { type Refusal, refusalFromError } from "@/rpc/refusal";

import type { Count, Place } from "./link";

/** The gateway's mark of the process that holds a session: read once, sent with every request. */
export const AFFINITY_HEADER = "x-parley-affinity";

/** What a subscription tells; nothing after its signal was aborted. */
export interface SubscriptionEvents {
  /** Where the session is: once, before the `started` that says it. */
  place(place: Place): void;
  response(response: ConverseResponse): void;
  /** Once: null where the stream ended in good order. */
  end(refusal: Refusal | null): void;
}

/** Opens or resumes a session and reads what it says, until its end or `signal`. */
export function subscribe(
  start: StartSession,
  count: Count,
  signal: AbortSignal,
  on: SubscriptionEvents,
): void {
  void read(start, count, signal, on).then(
    () => {
      if (!signal.aborted) on.end(null);
    },
    (error: unknown) => {
      if (!signal.aborted) on.end(refusalFromError(error));
    },
  );
}

async function read(
  start: StartSession,
  count: Count,
  signal: AbortSignal,
  on: SubscriptionEvents,
): Promise<void> {
  let affinity = count.affinity ?? "";
  const responses = conversations.subscribe(
    { start, seq: count.seq, firstSeq: count.firstSeq },
    {
      signal,
      timeoutMs: 0,
      headers: affinity ? { [AFFINITY_HEADER]: affinity } : {},
      onHeader: (headers) => {
        affinity = headers.get(AFFINITY_HEADER) ?? affinity;
      },
    },
  );
  let placed = false;
  for await (const { response } of responses) {
    if (signal.aborted) return;
    if (!response) continue;
    // A page that goes on with another's session is told everything again, that `started` included.
    if (response.message.case === "started" && !placed) {
      placed = true;
      on.place({ conversationId: response.message.value.conversationId, affinity });
    }
    on.response(response);
  }
}
