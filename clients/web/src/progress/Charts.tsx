import type { GetProgressResponse } from "@parley/stubs/parley/history/v1/history_pb";
import { useMemo, useState } from "react";

import { count, lengthWords, silenceWords } from "@/ui/words";

import { Chart, type Measure } from "./Chart";
import "./charts.css";
import { Notes } from "./Notes";
import { type Point, addUp, pointsOf } from "./series";

// More bars than this are too thin to point at on a phone.
const MOST_DAYS = 31;
const WEEK = 7;

const MEASURES: readonly Measure[] = [
  {
    title: "Speaking time",
    of: (point) => point.speechMs,
    words: lengthWords,
    unit: 60_000,
    form: "bars",
    colour: "learner",
  },
  {
    title: "Words",
    of: (point) => point.words,
    words: (words) => new Intl.NumberFormat("en-GB").format(Math.round(words)),
    form: "bars",
    colour: "learner",
  },
  {
    title: "Pace",
    of: (point) => point.rate,
    words: (rate) => `${Math.round(rate)} a min`,
    whole: (value) => `${value} on average`,
    form: "line",
    colour: "learner",
  },
  {
    title: "Notes per 100 words",
    of: (point) => (point.words > 0 ? (100 * point.notes) / point.words : 0),
    words: (notes) => notes.toFixed(1),
    whole: (value) => `${value} on average`,
    form: "bars",
    colour: "note",
  },
  {
    title: "Wait for an answer",
    of: (point) => point.waitMs,
    words: (ms) => silenceWords(ms) || "none",
    whole: (value) => `usually ${value}`,
    form: "line",
    colour: "tutor",
  },
];

/** Every measure over the days, or over the weeks where those would be too many. */
export function Charts({ told }: { readonly told: GetProgressResponse }) {
  const [at, setAt] = useState<number | null>(null);
  const daily = useMemo(() => pointsOf(told, 1), [told]);
  const days = daily.length > MOST_DAYS ? WEEK : 1;
  const points = useMemo(() => (days === 1 ? daily : pointsOf(told, days)), [daily, days, told]);
  const all: Point = { first: told.fromDate, last: told.toDate, ...addUp(told.days) };
  const practised = `on ${count(told.days.length, "day")}${days === 1 ? "" : ", by the week"}`;
  const wholeWords = ({ whole }: Measure, value: string) =>
    whole?.(value) ?? `${value} ${practised}`;
  return (
    <div className="charts">
      {MEASURES.filter((measure) => points.some((point) => measure.of(point) > 0)).map(
        (measure) => (
          <Chart
            key={measure.title}
            measure={measure}
            points={points}
            told={wholeWords(measure, measure.words(measure.of(all)))}
            at={at}
            onAt={setAt}
          />
        ),
      )}
      <Notes days={told.days} />
    </div>
  );
}
