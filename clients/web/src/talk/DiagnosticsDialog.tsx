import { useEffect, useState } from "react";

import { Dialog } from "@/ui/Dialog";
import { SelectField } from "@/ui/Field";
import { prefer, usePreferences } from "@/wishes/talk-preferences";

import type { Diagnostics } from "./diagnostics";
import "./diagnostics-dialog.css";
import { talk } from "./talk";
import { useTalk } from "./use-talk";
import type { StageView } from "./session-view";

const WAYS = {
  upload: "Streamed upload and subscription (grpc-web)",
  push: "Batches and subscription (grpc-web)",
  websocket: "WebSocket",
} as const;

/** For the curious and for whoever helps: how the talk travels and where the time goes. */
export function DiagnosticsDialog({
  open,
  onClose,
}: {
  readonly open: boolean;
  readonly onClose: () => void;
}) {
  return (
    <Dialog open={open} onClose={onClose} title="Diagnostics" wide>
      <Panel />
    </Dialog>
  );
}

function Panel() {
  const seen = useDiagnostics();
  const turns = useTalk((state) => state.view.turns);
  const { transport } = usePreferences();
  const last = turns.findLast((turn) => turn.stages.length > 0);
  if (!seen) return null;
  return (
    <>
      <dl className="figures">
        <Row name="Way">
          {WAYS[seen.transport]}
          <small>{seen.why}</small>
        </Row>
        <Row name="Page came over">{seen.protocol || "unknown"}</Row>
        <Row name="Round trip">{ms(seen.roundTripMs)}</Row>
        <Row name="Waiting to be sent">{seen.queued} messages</Row>
        <Row name="Reconnections">{seen.reconnections}</Row>
        <Row name="Sound waiting to be played">{ms(seen.position?.queuedMs ?? null)}</Row>
        <Row name="Ran dry">
          {seen.position?.underruns ?? 0} times
          {(seen.position?.refused ?? 0) > 0 && `, ${seen.position?.refused} samples refused`}
        </Row>
        <Row name="Rates">
          {[
            seen.contextRateHz && `machine ${khz(seen.contextRateHz)}`,
            `sent ${khz(seen.captureRateHz)}`,
            seen.playbackRateHz && `tutor ${khz(seen.playbackRateHz)}`,
          ]
            .filter(Boolean)
            .join(", ")}
        </Row>
        <Row name="Loudspeaker’s delay">{ms(seen.outputLatencyMs)}</Row>
        <Row name="Microphone">{seen.microphone || "none"}</Row>
        <Row name="Tutor and voice">
          {[seen.engine, seen.voice].filter(Boolean).join(", ") || "–"}
        </Row>
        <Row name="Conversation">
          <code>{seen.conversationId || "–"}</code>
        </Row>
      </dl>
      {last && <Stages stages={last.stages} silenceMs={last.silenceMs} />}
      <SelectField
        label="Way to use"
        hint="Counts from the next talk on."
        value={transport}
        onChange={(event) => prefer({ transport: event.target.value as typeof transport })}
      >
        <option value="auto">Whatever fits best</option>
        {Object.entries(WAYS).map(([name, words]) => (
          <option key={name} value={name}>
            {words}
          </option>
        ))}
      </SelectField>
    </>
  );
}

/** Where the silence before the last answer went: one bar, one row a part. */
function Stages({
  stages,
  silenceMs,
}: {
  readonly stages: readonly StageView[];
  readonly silenceMs: number | null;
}) {
  const total = stages.reduce((sum, each) => sum + Math.max(0, each.durationMs), 0) || 1;
  return (
    <section className="stages" aria-label="The silence before the last answer">
      <h3>
        The last silence
        {silenceMs !== null && <span className="tabular"> {Math.round(silenceMs)} ms</span>}
      </h3>
      <ul className="stages-list">
        {stages.map((each, i) => (
          <li key={i}>
            <span>{each.name}</span>
            <span className="stages-track">
              <span style={{ inlineSize: `${(Math.max(0, each.durationMs) / total) * 100}%` }} />
            </span>
            <span className="tabular">{Math.round(each.durationMs)} ms</span>
          </li>
        ))}
      </ul>
    </section>
  );
}

function Row({ name, children }: { readonly name: string; readonly children: React.ReactNode }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd className="tabular">{children}</dd>
    </div>
  );
}

function useDiagnostics(): Diagnostics | null {
  const [seen, setSeen] = useState(() => talk.diagnose());
  useEffect(() => {
    const timer = setInterval(() => setSeen(talk.diagnose()), 500);
    return () => clearInterval(timer);
  }, []);
  return seen;
}

function ms(value: number | null): string {
  return value === null
    ? "–"
    : `${value > 0 && value < 10 ? value.toFixed(1) : Math.round(value)} ms`;
}

function khz(hz: number): string {
  return `${hz / 1000} kHz`;
}
