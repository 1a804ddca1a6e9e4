import type { ReactNode } from "react";

import type { Problem, WayOn } from "@/rpc/problem";

import "./problem-card.css";

import { Button } from "./Button";
import { Icon } from "./Icon";

const WORDS: Readonly<Record<Exclude<WayOn, "none">, string>> = {
  retry: "Try again",
  "sign-in": "Sign in",
  "start-new": "Start a new talk",
  "use-default": "Use the default",
  type: "Type instead",
  reload: "Reload the page",
};

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
              <Button
                size="s"
                onClick={() =>
                  problem.wayOn === "reload" ? location.reload() : onWayOn(problem.wayOn)
                }
              >
                {WORDS[problem.wayOn]}
              </Button>
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
