import type { DailyProgress } from "@parley/stubs/parley/history/v1/history_pb";

import { lengthWords, silenceWords } from "@/ui/words";

import "./day-table.css";
import { addUp, dateWords } from "./series";

/** Every number of the charts, for who would rather read them. The latest day comes first. */
export function DayTable({ days }: { readonly days: readonly DailyProgress[] }) {
  return (
    <details className="day-table">
      <summary>Day by day, in numbers</summary>
      <div
        role="region"
        aria-label="Day by day"
        // With the keyboard it scrolls sideways only where it has the focus.
        // eslint-disable-next-line jsx-a11y/no-noninteractive-tabindex
        tabIndex={0}
      >
        <table className="tabular">
          <thead>
            <tr>
              {["Day", "Spoken", "Words", "Turns", "A minute", "Notes", "Wait"].map((each) => (
                <th key={each} scope="col">
                  {each}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {[...days].reverse().map((day) => (
              <tr key={day.date}>
                <th scope="row">{dateWords(day.date)}</th>
                <td>{lengthWords(Number(day.speechMs))}</td>
                <td>{day.words}</td>
                <td>{day.turns}</td>
                <td>{day.rateWpm > 0 ? Math.round(day.rateWpm) : "–"}</td>
                <td>{addUp([day]).notes}</td>
                <td>{silenceWords(day.medianSilenceMs) || "–"}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </details>
  );
}
