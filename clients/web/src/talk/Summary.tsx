import { Link } from "wouter";

import { forgetSignIn, useAccount } from "@/auth/session";
import type { WayOn } from "@/rpc/problem";
import { Button } from "@/ui/Button";
import { Icon } from "@/ui/Icon";
import { PageHeading } from "@/ui/PageHeading";
import { ProblemCard } from "@/ui/ProblemCard";
import { prefer } from "@/wishes/talk-preferences";

import { clock } from "./floor-words";
import "./summary.css";
import { talk } from "./talk";
import { TurnItem } from "./TurnItem";
import { useTalk } from "./use-talk";

// Less rounds to nothing, and nobody waited.
const SHOWN_FROM_MS = 50;
// Enough to know the talk again; the whole of it is in History.
const LAST_TURNS = 3;

/** After a talk: how it went, and what is worth keeping. */
export function Summary() {
  const view = useTalk((state) => state.view);
  const problem = useTalk((state) => state.problem);
  const name = useAccount()?.profile?.displayName || "You";
  const { summary } = view;
  const noted = view.turns.filter((turn) => turn.corrections.length > 0);
  const shown = noted.length > 0 ? noted : view.turns.slice(-LAST_TURNS);
  const unsaved = summary ? summary.turns - summary.turnsSaved : 0;
  const onWayOn = (wayOn: WayOn) => {
    if (wayOn === "sign-in") forgetSignIn();
    else {
      prefer({ engine: "", voice: "" });
      talk.reset();
    }
  };
  // Another talk has its own button below: a second one would only make one wonder which.
  const another = problem?.wayOn === "start-new" || problem?.wayOn === "retry";
  return (
    <div className="summary page">
      <header>
        <p className="lobby-hello">{view.scenario?.title ?? "Your talk"}</p>
        <PageHeading title="How it went">
          {problem ? "Your talk is over." : headline(summary?.turns ?? view.turns.length)}
        </PageHeading>
      </header>
      {problem && <ProblemCard problem={problem} {...(!another && { onWayOn })} />}
      {unsaved > 0 && (
        <div className="banner banner-warn" role="status">
          <span>{unsaved === 1 ? "One turn is" : `${unsaved} turns are`} still being saved.</span>
        </div>
      )}
      {summary && summary.turns > 0 && (
        <dl className="summary-figures">
          <Figure name="You spoke" value={clock(summary.learnerSpeechMs)} />
          <Figure name="The tutor spoke" value={clock(summary.tutorSpeechMs)} />
          <Figure name={summary.turns === 1 ? "Turn" : "Turns"} value={String(summary.turns)} />
          {summary.medianSilenceMs >= SHOWN_FROM_MS && (
            <Figure
              name="Usual wait for an answer"
              value={`${(summary.medianSilenceMs / 1000).toFixed(1)} s`}
            />
          )}
        </dl>
      )}
      <div className="summary-actions">
        <Button look="primary" icon="chat" onClick={() => talk.reset()}>
          Another talk
        </Button>
        {view.conversationId && (
          <Link href={`/history/${view.conversationId}`} className="button button-plain button-m">
            <Icon name="history" />
            <span>Read and listen again</span>
          </Link>
        )}
      </div>
      {shown.length > 0 && (
        <section className="summary-notes">
          <h2>{noted.length > 0 ? "Worth remembering" : "How it ended"}</h2>
          <ol className="turns">
            {shown.map((turn) => (
              <TurnItem key={turn.number} turn={turn} learnerName={name} replayMs={null} />
            ))}
          </ol>
        </section>
      )}
    </div>
  );
}

function Figure({ name, value }: { readonly name: string; readonly value: string }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd className="tabular">{value}</dd>
    </div>
  );
}

/** A kind word that is true. */
export function headline(turns: number): string {
  if (turns === 0) return "Until next time.";
  if (turns < 4) return "A good start.";
  return turns < 12 ? "Well done." : "What a talk!";
}
