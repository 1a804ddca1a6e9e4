import { useEffect, useRef } from "react";

import { forgetSignIn, useAccount } from "@/auth/session";
import type { WayOn } from "@/rpc/problem";
import { Button } from "@/ui/Button";
import { Icon } from "@/ui/Icon";
import { PageHeading } from "@/ui/PageHeading";
import { ProblemCard } from "@/ui/ProblemCard";
import { prefer, usePreferences } from "@/wishes/talk-preferences";

import { useCatalog } from "./catalog";
import { Choices } from "./Choices";
import { canGoOn, leftTalk } from "./left-talk";
import { LeftTalkCard } from "./LeftTalkCard";
import "./lobby.css";
import { ScenarioPicker } from "./ScenarioPicker";
import { talk } from "./talk";
import { useTalk } from "./use-talk";

/** Before a talk: what about, with whom, and the one big button. */
export function Lobby() {
  const catalog = useCatalog();
  const account = useAccount();
  const problem = useTalk((state) => state.problem);
  const microphoneProblem = useTalk((state) => state.microphoneProblem);
  const { scenarioId, pushToTalk } = usePreferences();
  const name = account?.profile?.displayName;
  const trouble = useRef<HTMLDivElement>(null);
  useEffect(() => {
    // The button that was pressed is always in reach; what it brought may be far above.
    trouble.current?.scrollIntoView({ block: "center" });
  }, [problem, microphoneProblem]);
  const begin = (typedOnly = false) => void talk.start({ typedOnly });
  // What there was no microphone or no server for: a talk that goes on is still there to go on with.
  const tryAgain = (typedOnly?: boolean) =>
    canGoOn(leftTalk()) ? void talk.goOn({ typedOnly }) : begin(typedOnly);
  const onWayOn = (wayOn: WayOn) => {
    if (wayOn === "sign-in") forgetSignIn();
    else {
      if (wayOn === "use-default") prefer({ engine: "", voice: "", scenarioId: "free-talk" });
      tryAgain();
    }
  };
  return (
    <div className="lobby page">
      <header className="lobby-head">
        <p className="lobby-hello">{greeting(new Date().getHours(), name)}</p>
        <PageHeading title="Talk">What shall we talk about?</PageHeading>
      </header>
      <LeftTalkCard />
      {(problem ?? microphoneProblem) && (
        <div ref={trouble} className="lobby-trouble">
          {problem && <ProblemCard problem={problem} onWayOn={onWayOn} />}
          {microphoneProblem && (
            <ProblemCard problem={microphoneProblem} onWayOn={() => tryAgain()}>
              <Button size="s" look="quiet" icon="keyboard" onClick={() => tryAgain(true)}>
                Type instead
              </Button>
            </ProblemCard>
          )}
        </div>
      )}
      {catalog.problem && !catalog.value ? (
        <ProblemCard problem={catalog.problem} onWayOn={catalog.again} />
      ) : (
        <ScenarioPicker
          scenarios={catalog.value?.scenarios}
          chosen={scenarioId}
          level={account?.profile?.level}
          onChoose={(id) => prefer({ scenarioId: id })}
        />
      )}
      <details
        className="lobby-choices"
        onToggle={({ currentTarget }) => {
          // It opens below what is in sight.
          if (currentTarget.open) currentTarget.scrollIntoView({ block: "start" });
        }}
      >
        <summary>
          <Icon name="settings" />
          Tutor, voice and how you talk
          <Icon name="chevron" size={18} />
        </summary>
        <Choices catalog={catalog.value} live={false} />
      </details>
      <div className="lobby-start">
        <button type="button" className="start" onClick={() => begin()}>
          <span className="start-disc">
            <Icon name="mic" size={26} />
          </span>
          <span>
            <strong>Start talking</strong>
            <small>
              {pushToTalk ? "Hold the button while you speak" : "Just speak, and take your time"}
            </small>
          </span>
        </button>
        <Button look="quiet" icon="keyboard" onClick={() => begin(true)}>
          Type instead
        </Button>
      </div>
    </div>
  );
}

/** A greeting for the hour. */
export function greeting(hour: number, name: string | undefined): string {
  const time =
    hour < 5 ? "Hello" : hour < 12 ? "Good morning" : hour < 18 ? "Good afternoon" : "Good evening";
  return name ? `${time}, ${name}.` : `${time}.`;
}
