import { LiveTalk } from "./LiveTalk";
import { Lobby } from "./Lobby";
import { Summary } from "./Summary";
import { useTalk } from "./use-talk";

/** Talking: choosing, talking, looking back. */
export function TalkPage() {
  const phase = useTalk((state) => state.phase);
  switch (phase) {
    case "idle":
      return <Lobby />;
    case "over":
      return <Summary />;
    default:
      return <LiveTalk />;
  }
}
