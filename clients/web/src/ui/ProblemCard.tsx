import { type ReactNode, useEffect } from "react";

import type { Problem, WayOn } from "@/rpc/problem";

import "./problem-card.css";

import { Button } from "./Button";
import { useCountdown, waitWords } from "./countdown";
import { Icon } from "./Icon";

const WORDS: Readonly<Record<Exclude<WayOn, "none">, string>> = {
  retry: "Try again",
  "sign-in": "Sign in",
  "start-new": "Start a new talk",
  "use-default": "Use the default",
  type: "Type instead",
  reload: "Reload the page",
};

// A shorter wait is over before it is read.
const SHOWN_FROM_MS = 1_500;

/** What went wrong, in words, with the way on as a button. Announced when it appears. */
export function ProblemCard({
  problem,
  onWayOn,
  children,
}: {
  readonly problem: Problem;
  /** Does what the problem's `wayOn` says, but for "reload"; without it there is no button. */
  readonly onWayOn?: (wayOn: WayOn) => void;
  /** Further buttons. */
  readonly children?: ReactNode;
}) {
  return (
    <div className="problem" role="alert">
      <Icon name="warning" size={22} />
      <div>
        <h3>{problem.title}</h3>
        {problem.advice && <p>{problem.advice}</p>}
        {((onWayOn && problem.wayOn !== "none") || children) && (
          <div className="problem-actions">
            {onWayOn && problem.wayOn !== "none" && (
              <WayOnButton problem={problem} wayOn={problem.wayOn} onWayOn={onWayOn} />
            )}
            {children}
          </div>
        )}
        {problem.detail && (
          <details>
            <summary>Details</summary>
            <code>{problem.detail}</code>
          </details>
        )}
      </div>
    </div>
  );
}

/** Where trying again cannot help yet it says for how long, and waits. */
function WayOnButton({
  problem,
  wayOn,
  onWayOn,
}: {
  readonly problem: Problem;
  readonly wayOn: Exclude<WayOn, "none">;
  readonly onWayOn: (wayOn: WayOn) => void;
}) {
  const [left, beginWait] = useCountdown();
  useEffect(() => {
    const { retryAfterMs } = problem;
    beginWait(wayOn === "retry" && retryAfterMs >= SHOWN_FROM_MS ? retryAfterMs : 0);
  }, [problem, wayOn, beginWait]);
  return (
    <Button
      size="s"
      disabled={left > 0}
      onClick={() => (wayOn === "reload" ? location.reload() : onWayOn(wayOn))}
    >
      {WORDS[wayOn]}
      {/* Every second of it would be read aloud. */}
      {left > 0 && <span aria-hidden> in {waitWords(left)}</span>}
    </Button>
  );
}
