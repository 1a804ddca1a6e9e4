import { useEffect, useRef, useState } from "react";

import { useAccount } from "@/auth/session";
import { Button } from "@/ui/Button";

import "./transcript.css";
import { TurnItem } from "./TurnItem";
import { useTalk } from "./use-talk";

// Nearer to the end than this counts as being there.
const NEAR_PX = 120;

/** Both sides' words. It follows the talk unless the learner has scrolled back to read. */
export function Transcript() {
  const turns = useTalk((state) => state.view.turns);
  const replay = useTalk((state) => state.replay);
  const name = useAccount()?.profile?.displayName || "You";
  const ref = useRef<HTMLDivElement>(null);
  const [following, setFollowing] = useState(true);
  useEffect(() => {
    const box = ref.current;
    if (box && following) box.scrollTop = box.scrollHeight;
  }, [turns, following]);
  useEffect(() => {
    const box = ref.current;
    if (!box || !following) return;
    // A keyboard on the screen, a note or a banner: what was said last stays in sight.
    const observer = new ResizeObserver(() => {
      box.scrollTop = box.scrollHeight;
    });
    observer.observe(box);
    return () => observer.disconnect();
  }, [following]);
  return (
    <div
      ref={ref}
      className="transcript"
      // A list that scrolls must be reachable by keyboard.
      // eslint-disable-next-line jsx-a11y/no-noninteractive-tabindex
      tabIndex={0}
      role="log"
      aria-label="What was said"
      // Read aloud it would talk over the tutor, a piece at a time; the announcer says what is due.
      aria-live="off"
      onScroll={({ currentTarget: box }) => {
        setFollowing(box.scrollHeight - box.scrollTop - box.clientHeight < NEAR_PX);
      }}
    >
      <ol className="turns">
        {turns.map((turn) => (
          <TurnItem
            key={turn.number}
            turn={turn}
            learnerName={name}
            replayMs={replay?.turn === turn.number ? replay.ms : null}
          />
        ))}
      </ol>
      {!following && (
        <Button
          size="s"
          className="transcript-latest"
          icon="chevron"
          onClick={() => setFollowing(true)}
        >
          Latest
        </Button>
      )}
    </div>
  );
}
