/** What both sides of the sound of one talk work on. */

import type { LiveSession } from "@/transports/session";

import type { TalkStore } from "./talk-store";

/** The state that is shown, and the session that is held. */
export interface Shared {
  readonly store: TalkStore;
  /** Null before it is opened. */
  readonly session: LiveSession | null;
}
