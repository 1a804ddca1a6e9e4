/** What is said of who has the floor, in few words. Pure. */

import type { Floor } from "./session-view";

/** Two lines under the control: what is going on, and what can be done. */
export interface FloorWords {
  readonly title: string;
  readonly hint: string;
}

/** Puts the floor into words. */
export function floorWords(
  floor: Floor,
  state: {
    readonly muted: boolean;
    readonly pushToTalk: boolean;
    readonly holding: boolean;
    readonly hears: boolean;
    readonly finishing: boolean;
  },
): FloorWords {
  if (state.finishing) return { title: "Finishing…", hint: "Saving what you said." };
  switch (floor) {
    case "connecting":
      return { title: "One moment…", hint: "The tutor is coming." };
    case "reconnecting":
      return { title: "Reconnecting…", hint: "What you say is kept." };
    case "ended":
      return { title: "The talk is over", hint: "" };
    case "tutor":
      if (state.pushToTalk && state.hears) return { title: "Speaking", hint: "Hold to interrupt." };
      return { title: "Speaking", hint: state.hears ? "Start talking to interrupt." : "" };
    case "held":
      return { title: "Paused", hint: "Go on, I am listening." };
    case "thinking":
      return { title: "Thinking…", hint: "" };
    case "learner":
      if (state.pushToTalk) return { title: "Listening", hint: "Let go when you have finished." };
      return { title: "Listening", hint: "Take your time." };
    case "listening":
      if (!state.hears) return { title: "Your turn", hint: "Write what you would say." };
      if (state.pushToTalk) {
        return state.holding
          ? { title: "Listening", hint: "Let go when you have finished." }
          : { title: "Your turn", hint: "Hold the button, or the space bar." };
      }
      if (state.muted) return { title: "Muted", hint: "Press to be heard again." };
      return { title: "Your turn", hint: "Just speak. Pauses are fine." };
  }
}

/** A length of time as minutes and seconds: "3:07". */
export function clock(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
}
