/** What a talk shows of itself, apart from what the session's messages make of its view. */

import type { Problem } from "@/rpc/problem";

import { NEW_SESSION, type SessionView } from "./session-view";

/** Where a talk stands, apart from the session itself. */
export type Phase = "idle" | "starting" | "live" | "finishing" | "over";

/** Whether the tutor can hear the learner. */
export type Listening = "off" | "asking" | "on" | "typed-only" | "lost";

/** Everything that the page draws. */
export interface TalkState {
  readonly phase: Phase;
  readonly view: SessionView;
  /** Why it did not begin, or ended before its time. */
  readonly problem: Problem | null;
  readonly listening: Listening;
  readonly microphoneProblem: Problem | null;
  /** The device has stopped all sound, both ways, and gives it back to a touch only. */
  readonly soundStopped: boolean;
  /** Whether there is sound of the tutor's that has not been played to its end. */
  readonly sounding: boolean;
  readonly muted: boolean;
  /** Push-to-talk: the button is down. */
  readonly holding: boolean;
  /** The turn that is being repeated, and how far. */
  readonly replay: { readonly turn: number; readonly ms: number } | null;
  /** When it began, on `performance.now`'s clock. */
  readonly startedAt: number;
}

/** No talk: what the choice of one begins from. */
export const IDLE: TalkState = {
  phase: "idle",
  view: NEW_SESSION,
  problem: null,
  listening: "off",
  microphoneProblem: null,
  soundStopped: false,
  sounding: false,
  muted: false,
  holding: false,
  replay: null,
  startedAt: 0,
};

/** How loud both sides are just now, 0 to 1. */
export interface Levels {
  readonly learner: number;
  readonly tutor: number;
}
