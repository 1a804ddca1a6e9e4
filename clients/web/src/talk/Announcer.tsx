import { useEffect, useRef, useState } from "react";

import { usePreferences } from "@/wishes/talk-preferences";

import { newNotes, newReplies } from "./announcement";
import { floorWords } from "./floor-words";
import { useTalk } from "./use-talk";

// Whose turn it is changes within a breath; only what stays is worth saying.
const SETTLED_MS = 800;

/**
 * Tells a screen reader whose turn it is, and new notes: never while one of both is speaking.
 *
 * With captions only it reads the tutor's answers as well: nobody else does.
 */
export function Announcer() {
  const floor = useTalk((state) => state.view.floor);
  const turns = useTalk((state) => state.view.turns);
  const sounding = useTalk((state) => state.sounding);
  const muted = useTalk((state) => state.muted);
  const holding = useTalk((state) => state.holding);
  const hears = useTalk((state) => state.listening === "on");
  const finishing = useTalk((state) => state.phase === "finishing");
  const { pushToTalk, captionsOnly } = usePreferences();
  const told = useRef(new Set<string>());
  const [said, setSaid] = useState("");
  const { title } = floorWords(floor, { muted, pushToTalk, holding, hears, finishing });
  // The tutor's own voice says that the tutor speaks, and nobody is talked over.
  const silent = sounding || floor === "tutor" || floor === "held" || floor === "learner";
  useEffect(() => {
    if (silent) return;
    const timer = setTimeout(() => {
      const replies = newReplies(turns, told.current);
      const notes = newNotes(turns, told.current);
      setSaid([...(captionsOnly ? replies : []), ...notes, title].join(" "));
    }, SETTLED_MS);
    return () => clearTimeout(timer);
  }, [silent, turns, title, captionsOnly]);
  return (
    <p className="unseen" role="status">
      {said}
    </p>
  );
}
