import { useEffect, useState } from "react";

import { PageHeading } from "@/ui/PageHeading";

import { ConversationList } from "./ConversationList";
import { deletions } from "./conversation-deletions";
import "./history-page.css";
import { SearchBox } from "./SearchBox";
import { SearchResults } from "./SearchResults";
import { forgetList, keepQuery, keptQuery } from "./remembered";

// Between two strokes of a quick typist; a search for every letter would only be thrown away.
const TYPING_PAUSE_MS = 220;

/** The conversations of the past, and the search in what was said. */
export default function HistoryPage() {
  const [typed, setTyped] = useState(keptQuery);
  const [query, setQuery] = useState(typed.trim());
  useEffect(() => {
    const timer = setTimeout(() => {
      setQuery(typed.trim());
      keepQuery(typed.trim());
    }, TYPING_PAUSE_MS);
    return () => clearTimeout(timer);
  }, [typed]);
  useEffect(() => {
    deletions.resume().then(forgetList, () => undefined);
  }, []);
  return (
    <div className="page history">
      <PageHeading title="History">What you have talked about</PageHeading>
      <SearchBox
        value={typed}
        onChange={setTyped}
        onEnter={() => {
          setQuery(typed.trim());
          keepQuery(typed.trim());
        }}
      />
      {/* Cleared: back at once, without the pause. */}
      {query && typed.trim() ? <SearchResults query={query} /> : <ConversationList />}
    </div>
  );
}
