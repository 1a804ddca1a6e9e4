import { useSyncExternalStore } from "react";

import { type TalkState, talk } from "./talk";

/** Reads a part of the talk; the component is drawn again when that part is another one. */
export function useTalk<T>(select: (state: TalkState) => T): T {
  return useSyncExternalStore(talk.subscribe, () => select(talk.state));
}
