import type { GetProgressResponse } from "@parley/stubs/parley/history/v1/history_pb";

import { count, lengthWords, silenceWords } from "@/ui/words";

import { addUp } from "./series";
import "./sums.css";

const NUMBER = new Intl.NumberFormat("en-GB");

/** The few numbers that it comes to: the row of days first, for that is what one can lose. */
export function Sums({ told }: { readonly told: GetProgressResponse }) {
  const sums = addUp(told.days);
  const { currentStreakDays: row, longestStreakDays: longest } = told;
  const facts: readonly (readonly [name: string, value: string, more?: string])[] = [
    [
      "In a row",
      count(row, "day"),
      longest > row ? `longest ${count(longest, "day")}` : "your longest",
    ],
    ["You spoke", lengthWords(sums.speechMs), `${lengthWords(Number(told.totalSpeechMs))} ever`],
    ["Words", NUMBER.format(sums.words), count(sums.turns, "turn")],
    ["Pace", sums.rate > 0 ? `${Math.round(sums.rate)}` : "", "words a minute"],
    ["Usual wait", silenceWords(sums.waitMs), "for an answer"],
    ["Talks", NUMBER.format(told.totalConversations), "ever"],
  ];
  return (
    <dl className="sums tabular">
      {facts
        .filter(([, value]) => value)
        .map(([name, value, more]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd>
              <strong>{value}</strong>
              {more && <span>{more}</span>}
            </dd>
          </div>
        ))}
    </dl>
  );
}
