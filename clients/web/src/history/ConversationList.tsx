import { timestampDate } from "@bufbuild/protobuf/wkt";
import type { ConversationSummary } from "@parley/stubs/parley/history/v1/history_pb";
import { useEffect, useLayoutEffect, useRef, useState, useSyncExternalStore } from "react";

import { histories } from "@/rpc/clients";
import { ProblemCard } from "@/ui/ProblemCard";

import { deletions } from "./conversation-deletions";
import "./conversation-list.css";
import { ConversationRow } from "./ConversationRow";
import { byDay } from "./days";
import { MoreOfList } from "./MoreOfList";
import { NothingYet } from "./NothingYet";
import type { Page } from "./pages";
import { forgetList, keepList, keptList, keptScroll } from "./remembered";
import { RowsToCome } from "./RowsToCome";
import { usePages } from "./use-pages";

async function source(pageToken: string, signal: AbortSignal): Promise<Page<ConversationSummary>> {
  const page = await histories.listConversations({ pageToken }, { signal });
  return { items: page.conversations, nextToken: page.nextPageToken };
}

const keyOf = (each: ConversationSummary) => each.conversationId;
const startOf = (each: ConversationSummary) =>
  each.startedAt ? timestampDate(each.startedAt) : new Date(0);

/** Every conversation, newest first, under its day. */
export function ConversationList() {
  const [before] = useState(keptList);
  const list = usePages(source, keyOf, before);
  const states = useSyncExternalStore(deletions.subscribe, deletions.states);
  const latest = useRef(list);
  useEffect(() => {
    latest.current = list;
  });
  useLayoutEffect(() => {
    if (before) scrollTo({ top: keptScroll(), behavior: "instant" });
    return () => {
      // On the way to a conversation or to another page; the window is still where it was.
      if (latest.current.begun) keepList(latest.current, scrollY);
      else forgetList();
    };
  }, [before]);
  const shown = list.items.filter((each) => states.get(each.conversationId) !== "gone");
  const now = new Date();
  return (
    <section aria-label="Conversations" aria-busy={list.pending}>
      {!list.begun && list.pending && (
        <>
          <p role="status" className="unseen">
            Reading your conversations…
          </p>
          <RowsToCome rows={5} />
        </>
      )}
      {!list.begun && list.problem && <ProblemCard problem={list.problem} onWayOn={list.more} />}
      {list.begun && shown.length === 0 && !list.nextToken && <NothingYet />}
      {byDay(shown, startOf, now).map(({ words, items }) => (
        <section key={words} className="day" aria-label={words}>
          <h2>{words}</h2>
          <ul className="conversations">
            {items.map((each) => (
              <ConversationRow
                key={each.conversationId}
                conversation={each}
                deletion={states.get(each.conversationId)}
              />
            ))}
          </ul>
        </section>
      ))}
      {list.begun && <MoreOfList list={list} words="Show earlier ones" />}
    </section>
  );
}
