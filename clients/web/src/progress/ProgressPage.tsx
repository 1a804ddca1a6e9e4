import type { GetProgressResponse } from "@parley/stubs/parley/history/v1/history_pb";
import { useState } from "react";
import { Link } from "wouter";

import { histories } from "@/rpc/clients";
import { useCall } from "@/rpc/use-call";
import { Icon } from "@/ui/Icon";
import { PageHeading } from "@/ui/PageHeading";
import { ProblemCard } from "@/ui/ProblemCard";
import { Segments } from "@/ui/Segments";
import { Skeleton } from "@/ui/Skeleton";

import { Charts } from "./Charts";
import { DayTable } from "./DayTable";
import "./progress-page.css";
import { addUp, dayAfter } from "./series";
import { Sums } from "./Sums";

type Span = 31 | 91 | 364;

const SPANS: readonly (readonly [days: Span, words: string])[] = [
  [31, "A month"],
  [91, "3 months"],
  [364, "A year"],
];

// What the server tells of when no days are named.
const UNASKED: Span = 31;

/** How practice goes: what it came to, and what became of it day by day. */
export default function ProgressPage() {
  const [span, setSpan] = useState<Span>(UNASKED);
  const call = useCall(String(span), (signal) => progressOf(span, signal));
  const told = call.value;
  return (
    <div className="page progress" aria-busy={call.pending}>
      <PageHeading title="Progress">How your practice goes</PageHeading>
      {!told && call.pending && (
        <>
          <p role="status" className="unseen">
            Adding up your practice…
          </p>
          <Skeleton widths={["60%", "100%", "100%", "80%"]} />
        </>
      )}
      {call.problem && <ProblemCard problem={call.problem} onWayOn={call.again} />}
      {told?.totalConversations === 0 && <NothingYet />}
      {told && told.totalConversations > 0 && (
        <>
          <div className="progress-span">
            <Segments label="How far back" choices={SPANS} value={span} onChange={setSpan} />
          </div>
          <Sums told={told} />
          {addUp(told.days).turns === 0 ? (
            <p className="progress-quiet">
              No practice in this time. <Link href="/">Five minutes are enough for a day.</Link>
            </p>
          ) : (
            <>
              {/* Another span's days are other days: what was pointed at is not theirs. */}
              <Charts key={`${told.fromDate} ${told.toDate}`} told={told} />
              <DayTable days={told.days} />
            </>
          )}
        </>
      )}
    </div>
  );
}

async function progressOf(span: Span, signal: AbortSignal): Promise<GetProgressResponse> {
  // Which day it is where the learner's profile is, the server knows: it is asked that first.
  const told = await histories.getProgress({}, { signal });
  if (span === UNASKED) return told;
  const { toDate } = told;
  return await histories.getProgress({ fromDate: dayAfter(toDate, 1 - span), toDate }, { signal });
}

function NothingYet() {
  return (
    <div className="progress-nothing">
      <h2>Your first talk begins this page.</h2>
      <p>Then you see here how long you spoke, how fast, and what came up on the way.</p>
      <Link href="/" className="button button-primary">
        Start a talk
        <Icon name="arrow-right" />
      </Link>
    </div>
  );
}
