import { useSyncExternalStore } from "react";

import { talk } from "./talk";
import type { TalkState } from "./talk-state";

/** Reads a part of the talk; the component is drawn again when that part is another one. */
export function useTalk<T>(select: (state: TalkState) => T): T {
  return useSyncExternalStore(talk.subscribe, () => select(talk.state));
}
