/** What a conversation is called, and how long it was. Pure. */

import { timestampMs } from "@bufbuild/protobuf/wkt";
import type { ConversationSummary } from "@parley/stubs/parley/history/v1/history_pb";

/** Its situation's title; what it is where there is none. */
export function titleOf({ scenarioTitle }: Pick<ConversationSummary, "scenarioTitle">): string {
  return scenarioTitle || "A conversation";
}

/** How long it was, in milliseconds; 0 while it goes on. */
export function lengthMs({
  startedAt,
  endedAt,
}: Pick<ConversationSummary, "startedAt" | "endedAt">): number {
  if (!startedAt || !endedAt) return 0;
  return Math.max(0, timestampMs(endedAt) - timestampMs(startedAt));
}
