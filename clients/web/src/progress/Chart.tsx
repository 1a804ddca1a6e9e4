import type { PointerEvent, ReactNode } from "react";

import "./chart.css";
import { type Point, pointWords, roundTop, shortDateWords } from "./series";

/** What one chart shows of each point. */
export interface Measure {
  readonly title: string;
  readonly of: (point: Point) => number;
  /** A value for people; of 0 as well. */
  readonly words: (value: number) => string;
  /** How the value of all days together is told; where it is not named, "… on 12 days". */
  readonly whole?: (value: string) => string;
  /** Bars for what adds up; a line for what does not, where 0 means that there is none. */
  /** What the scale's end is a round number of; 1 when not named. */
  readonly unit?: number;
  readonly form: "bars" | "line";
  readonly colour: "learner" | "tutor" | "note";
}

/**
 * One measure over time. Whoever points at a day reads its value, in every chart beside it as well.
 *
 * A drawing for eyes: the numbers stand in the table of the page.
 */
export function Chart({
  measure,
  points,
  told,
  at,
  onAt,
}: {
  readonly measure: Measure;
  readonly points: readonly Point[];
  /** What it comes to, in words. */
  readonly told: string;
  /** The point that is pointed at, by its place. */
  readonly at: number | null;
  readonly onAt: (at: number | null) => void;
}) {
  const values = points.map(measure.of);
  const unit = measure.unit ?? 1;
  const top = roundTop(Math.max(...values) / unit) * unit;
  const pointed = at === null ? undefined : points[at];
  const follow = (event: PointerEvent) => {
    const { left, width } = event.currentTarget.getBoundingClientRect();
    const place = Math.floor(((event.clientX - left) / width) * points.length);
    onAt(Math.min(Math.max(place, 0), points.length - 1));
  };
  return (
    <figure className={`chart chart-${measure.colour}`}>
      <figcaption>
        <h2>{measure.title}</h2>
        <p className="tabular">
          {pointed ? (
            <>
              <strong>{measure.words(measure.of(pointed))}</strong> {pointWords(pointed)}
            </>
          ) : (
            told
          )}
        </p>
      </figcaption>
      <p className="chart-scale tabular" aria-hidden>
        {measure.words(top)}
      </p>
      <svg
        className="chart-plot"
        role="img"
        aria-label={`${measure.title}: ${told}`}
        onPointerMove={follow}
        onPointerDown={follow}
        onPointerLeave={() => onAt(null)}
      >
        <line className="chart-rule" x1="0" x2="100%" y1="0" y2="0" />
        <line className="chart-rule" x1="0" x2="100%" y1="50%" y2="50%" />
        <line className="chart-rule chart-ground" x1="0" x2="100%" y1="100%" y2="100%" />
        {measure.form === "bars"
          ? bars(values, top, at)
          : [line(values, top), ...dots(values, top, at)]}
      </svg>
      <div className="chart-days tabular" aria-hidden>
        <span>{shortDateWords(points[0]?.first ?? "")}</span>
        <span>{shortDateWords(points.at(-1)?.last ?? "")}</span>
      </div>
    </figure>
  );
}

function bars(values: readonly number[], top: number, at: number | null): ReactNode[] {
  const step = 100 / values.length;
  return values.flatMap((value, i) =>
    value > 0
      ? [
          <rect
            key={i}
            className={i === at ? "chart-mark chart-mark-at" : "chart-mark"}
            x={`${i * step + step * 0.14}%`}
            width={`${step * 0.72}%`}
            y={`${100 - (100 * value) / top}%`}
            height={`${(100 * value) / top}%`}
            rx="2"
          />,
        ]
      : [],
  );
}

function line(values: readonly number[], top: number): ReactNode {
  const places = values.flatMap((value, i) =>
    value > 0 ? [`${(100 * (i + 0.5)) / values.length},${100 - (100 * value) / top}`] : [],
  );
  return (
    // Stretched to the drawing, while its stroke is not.
    <svg key="line" viewBox="0 0 100 100" preserveAspectRatio="none" width="100%" height="100%">
      <polyline
        className="chart-line"
        points={places.join(" ")}
        vectorEffect="non-scaling-stroke"
      />
    </svg>
  );
}

function dots(values: readonly number[], top: number, at: number | null): ReactNode[] {
  return values.flatMap((value, i) =>
    value > 0
      ? [
          <circle
            key={i}
            className={i === at ? "chart-mark chart-mark-at" : "chart-mark"}
            cx={`${(100 * (i + 0.5)) / values.length}%`}
            cy={`${100 - (100 * value) / top}%`}
            r={i === at ? 5 : 3}
          />,
        ]
      : [],
  );
}
