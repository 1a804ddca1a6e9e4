/** The keys of a talk: the space bar everywhere, and Enter on the big control. */

import { useEffect } from "react";

import { usePreferences } from "@/wishes/talk-preferences";

import { talk } from "./talk";

/** Space holds (push-to-talk) or stops the tutor, wherever the focus is that needs no space itself. */
export function useTalkKeys(): void {
  const { pushToTalk } = usePreferences();
  useEffect(() => {
    const down = (event: KeyboardEvent) => {
      if (!forTheTalk(event, pushToTalk)) return;
      // The button's own click would let go what the key holds.
      event.preventDefault();
      if (event.repeat) return;
      if (pushToTalk) talk.hold();
      else talk.interrupt();
    };
    const up = (event: KeyboardEvent) => {
      if (!isTalkKey(event)) return;
      // Some browsers click a button when the space bar comes up.
      if (forTheTalk(event, pushToTalk)) event.preventDefault();
      talk.letGo();
    };
    const away = () => talk.letGo();
    addEventListener("keydown", down);
    addEventListener("keyup", up);
    addEventListener("blur", away);
    return () => {
      removeEventListener("keydown", down);
      removeEventListener("keyup", up);
      removeEventListener("blur", away);
    };
  }, [pushToTalk]);
}

function isTalkKey({ code }: KeyboardEvent): boolean {
  return code === "Space" || code === "Enter" || code === "NumpadEnter";
}

function forTheTalk(event: KeyboardEvent, pushToTalk: boolean): boolean {
  if (!isTalkKey(event) || event.ctrlKey || event.metaKey || event.altKey) return false;
  const { code, target } = event;
  const element = target instanceof HTMLElement ? target : null;
  // Enter is nobody's but the control's that has the focus.
  if (code !== "Space") return pushToTalk && element?.closest(".orb") != null;
  // A control that has the focus keeps its own keys; the big one is held like the space bar.
  const controls = "input, textarea, select, dialog, a, summary";
  return !element?.closest(`${controls}, ${pushToTalk ? "button:not(.orb)" : "button"}`);
}
