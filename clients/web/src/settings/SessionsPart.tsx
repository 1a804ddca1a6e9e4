import { timestampDate } from "@bufbuild/protobuf/wkt";
import type { Session } from "@parley/stubs/parley/user/v1/user_pb";
import { useRef, useState } from "react";

import { users } from "@/rpc/clients";
import { type Problem, problemFromError } from "@/rpc/problem";
import { useCall } from "@/rpc/use-call";
import { Button } from "@/ui/Button";
import { ProblemCard } from "@/ui/ProblemCard";
import { Skeleton } from "@/ui/Skeleton";

import { agoWords } from "./ago";
import { Part } from "./Part";
import "./sessions-part.css";

/** The devices that are signed in, each to be signed out. */
export function SessionsPart() {
  const list = useCall(
    "sessions",
    async (signal) => (await users.listSessions({}, { signal })).sessions,
  );
  const [ending, setEnding] = useState("");
  const [problem, setProblem] = useState<Problem | null>(null);
  const [said, setSaid] = useState("");
  const [now] = useState(() => Date.now());
  const heading = useRef<HTMLParagraphElement>(null);
  const end = async (session: Session | "others") => {
    setEnding(session === "others" ? "others" : session.sessionId);
    setProblem(null);
    try {
      await users.revokeSession({
        target:
          session === "others"
            ? { case: "allOthers", value: true }
            : { case: "sessionId", value: session.sessionId },
      });
      setSaid(
        session === "others"
          ? "All other devices are signed out."
          : `${nameOf(session)} is signed out.`,
      );
      // The button that was pressed goes with its row.
      heading.current?.focus();
      list.again();
    } catch (error) {
      setProblem(problemFromError(error));
    }
    setEnding("");
  };
  const sessions = list.value ?? [];
  const others = sessions.filter((each) => !each.current);
  return (
    <Part title="Where you are signed in">
      <p role="status" ref={heading} tabIndex={-1} className="sessions-said">
        {said}
      </p>
      {problem && <ProblemCard problem={{ ...problem, wayOn: "none" }} />}
      {list.problem && <ProblemCard problem={list.problem} onWayOn={list.again} />}
      {!list.value && list.pending && <Skeleton widths={["50%", "30%", "45%"]} />}
      <ul className="sessions">
        {sessions.map((each) => (
          <li key={each.sessionId}>
            <span>
              <strong>{nameOf(each)}</strong>
              <span className="sessions-when">
                {each.current
                  ? "This device"
                  : each.lastUsedAt && `Last here ${agoWords(timestampDate(each.lastUsedAt), now)}`}
              </span>
            </span>
            {!each.current && (
              <Button
                size="s"
                busy={ending === each.sessionId}
                disabled={ending !== ""}
                onClick={() => void end(each)}
              >
                Sign out<span className="unseen"> {nameOf(each)}</span>
              </Button>
            )}
          </li>
        ))}
      </ul>
      {others.length > 1 && (
        <div className="part-row">
          <Button
            size="s"
            busy={ending === "others"}
            disabled={ending !== ""}
            onClick={() => void end("others")}
          >
            Sign out of all others
          </Button>
        </div>
      )}
    </Part>
  );
}

function nameOf({ deviceName }: Session): string {
  return deviceName || "A device without a name";
}
