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

/**
 * Opens or resumes a session and reads what it says.
 *
 * `onPlace` comes before the `started` that says it. `onEnd` comes once, with null where the stream
 * ended in good order; not at all after `signal` was aborted.
 */
export function subscribe(
  start: StartSession,
  count: Count,
  signal: AbortSignal,
  on: {
    place(place: Place): void;
    response(response: ConverseResponse): void;
    end(refusal: Refusal | null): void;
  },
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
  on: Parameters<typeof subscribe>[3],
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
    // The one that began the session is told again where all is.
    if (response.message.case === "started" && !placed) {
      placed = true;
      on.place({ conversationId: response.message.value.conversationId, affinity });
    }
    on.response(response);
  }
}
