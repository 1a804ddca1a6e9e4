import { useEffect, useState } from "react";
import { Link } from "wouter";

import { Button, IconButton } from "@/ui/Button";
import { Icon } from "@/ui/Icon";

import "./left-talk-card.css";
import { canGoOn, forgetLeft, leftTalk } from "./left-talk";
import { talk } from "./talk";

/** After a reload in the middle of a talk: it waits to go on, or it has ended and where it is. */
export function LeftTalkCard() {
  const [left, setLeft] = useState(leftTalk);
  const open = useIsOpen(left?.until ?? 0);
  if (!left) return null;
  const over = () => setLeft(null);
  if (open) {
    return (
      <section className="left-talk" aria-labelledby="left-talk">
        <span className="left-talk-mark">
          <Icon name="chat" />
        </span>
        <div>
          <h2 id="left-talk">Your talk is still open.</h2>
          <p>Its page was left. The tutor waits for you a little longer.</p>
        </div>
        <div className="left-talk-ways">
          <Button look="primary" onClick={() => void talk.goOn()}>
            Go on
          </Button>
          <Button
            look="quiet"
            onClick={() => {
              over();
              void talk.endLeft();
            }}
          >
            End it
          </Button>
        </div>
      </section>
    );
  }
  return (
    <div className="banner" role="status">
      <span>
        Your talk ended when its page was left. What you said is saved:{" "}
        <Link href={`/history/${left.conversationId}`}>read and listen again</Link>.
      </span>
      <IconButton
        icon="close"
        size={16}
        label="Dismiss"
        onClick={() => {
          forgetLeft();
          over();
        }}
      />
    </div>
  );
}

/** Whether the talk can be gone on with; changes when its time is over. */
function useIsOpen(until: number): boolean {
  const [open, setOpen] = useState(() => canGoOn(leftTalk()));
  useEffect(() => {
    if (!open) return;
    const timer = setTimeout(() => setOpen(false), until - Date.now());
    return () => clearTimeout(timer);
  }, [open, until]);
  return open;
}
