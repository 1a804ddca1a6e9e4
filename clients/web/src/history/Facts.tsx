import type { ConversationSummary } from "@parley/stubs/parley/history/v1/history_pb";

import { lengthWords, silenceWords } from "@/ui/words";

import "./facts.css";
import { lengthMs } from "./summary";

/** The few numbers of a conversation. What is not known is left out. */
export function Facts({ conversation }: { readonly conversation: ConversationSummary }) {
  const lasted = lengthMs(conversation);
  const spoken = Number(conversation.learnerSpeechMs);
  const facts: readonly (readonly [name: string, value: string])[] = [
    ["Together", lasted > 0 ? lengthWords(lasted) : ""],
    ["You spoke", spoken > 0 ? lengthWords(spoken) : ""],
    ["Turns", String(conversation.turns)],
    ["Notes", conversation.corrections > 0 ? String(conversation.corrections) : ""],
    ["Usual wait for an answer", silenceWords(conversation.medianSilenceMs)],
  ];
  return (
    <dl className="facts tabular">
      {facts
        .filter(([, value]) => value)
        .map(([name, value]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd>{value}</dd>
          </div>
        ))}
    </dl>
  );
}
