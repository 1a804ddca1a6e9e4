import type { DailyProgress } from "@parley/stubs/parley/history/v1/history_pb";

import "./notes.css";
import { notesByKind } from "./series";

/** What the notes were about. */
export function Notes({ days }: { readonly days: readonly DailyProgress[] }) {
  const kinds = notesByKind(days);
  const most = Math.max(...kinds.map(([, count]) => count));
  if (kinds.length === 0) return null;
  return (
    <section className="notes-by-kind" aria-labelledby="notes-by-kind">
      <h2 id="notes-by-kind">What the notes were about</h2>
      <ul className="notes-by-kind-list tabular">
        {kinds.map(([words, count]) => (
          <li key={words}>
            <span>{words}</span>
            <span className="notes-by-kind-bar" aria-hidden>
              <span style={{ inlineSize: `${(100 * count) / most}%` }} />
            </span>
            <strong>{count}</strong>
          </li>
        ))}
      </ul>
    </section>
  );
}
