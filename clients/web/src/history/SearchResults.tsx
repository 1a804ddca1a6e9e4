import { timestampDate } from "@bufbuild/protobuf/wkt";
import type { TurnMatch } from "@parley/stubs/parley/history/v1/history_pb";
import { useCallback, useSyncExternalStore } from "react";
import { Link } from "wouter";

import { histories } from "@/rpc/clients";
import { ProblemCard } from "@/ui/ProblemCard";
import { count, dayWords } from "@/ui/words";

import { deletions } from "./conversation-deletions";
import { highlight } from "./highlight";
import { MoreOfList } from "./MoreOfList";
import type { Page } from "./pages";
import { RowsToCome } from "./RowsToCome";
import "./search-results.css";
import { usePages } from "./use-pages";

const keyOf = (match: TurnMatch) => `${match.turnId}/${match.tutor}`;

/** The turns in which the words were said, best first. */
export function SearchResults({ query }: { readonly query: string }) {
  const source = useCallback(
    async (pageToken: string, signal: AbortSignal): Promise<Page<TurnMatch>> => {
      const found = await histories.searchTurns({ query, pageToken }, { signal });
      return { items: found.matches, nextToken: found.nextPageToken };
    },
    [query],
  );
  const found = usePages(source, keyOf);
  const going = useSyncExternalStore(deletions.subscribe, deletions.states);
  const shown = found.items.filter(
    ({ conversationId }) => (going.get(conversationId) ?? "failed") === "failed",
  );
  const now = new Date();
  return (
    <section aria-label="What was found" aria-busy={found.pending}>
      <p role="status" className="found-count">
        {found.pending && !found.begun
          ? "Searching…"
          : found.problem && !found.begun
            ? ""
            : foundWords(shown.length, found.nextToken !== "")}
      </p>
      {found.problem && !found.begun && (
        <ProblemCard problem={found.problem} onWayOn={found.more} />
      )}
      {!found.begun && found.pending && <RowsToCome rows={3} />}
      {found.begun && shown.length === 0 && !found.pending && (
        <div className="found-nothing">
          <p>
            Nobody said “{query}”. Every word has to be there, so try fewer of them. Words in
            “quotation marks” are looked for side by side.
          </p>
        </div>
      )}
      <ul className="found">
        {shown.map((match) => (
          <li key={keyOf(match)}>
            <Link
              href={`/history/${match.conversationId}#turn-${match.number}`}
              className={match.tutor ? "found-one found-tutor" : "found-one found-learner"}
            >
              <span className="found-who">
                {match.tutor ? "Tutor" : "You"}
                {match.startedAt && (
                  <time dateTime={timestampDate(match.startedAt).toISOString()}>
                    {dayWords(timestampDate(match.startedAt), now)}
                  </time>
                )}
              </span>
              <span className="found-words">
                {highlight(match.snippet, match.spans).map(({ text, found: hit }, i) =>
                  hit ? <mark key={i}>{text}</mark> : <span key={i}>{text}</span>,
                )}
              </span>
            </Link>
          </li>
        ))}
      </ul>
      {found.begun && <MoreOfList list={found} words="Show more" />}
    </section>
  );
}

function foundWords(shown: number, more: boolean): string {
  if (shown === 0) return "Nothing found";
  return more ? `The best ${shown}` : count(shown, "place", "places");
}
