import { timestampDate } from "@bufbuild/protobuf/wkt";
import type { ConversationSummary } from "@parley/stubs/parley/history/v1/history_pb";
import { useEffect, useRef } from "react";
import { Link } from "wouter";

import { Button, IconButton } from "@/ui/Button";
import { Icon } from "@/ui/Icon";
import { count, lengthWords, timeWords } from "@/ui/words";

import { deletions } from "./conversation-deletions";
import "./conversation-row.css";
import type { Deletion } from "./deletions";
import { lengthMs, titleOf } from "./summary";

/** One conversation of the list; or, for a while, that it is being deleted and how to undo that. */
export function ConversationRow({
  conversation,
  deletion,
}: {
  readonly conversation: ConversationSummary;
  readonly deletion: Deletion | undefined;
}) {
  const { conversationId: id, preview, turns, corrections } = conversation;
  const title = titleOf(conversation);
  const started = conversation.startedAt && timestampDate(conversation.startedAt);
  const lasted = lengthMs(conversation);
  const undo = useRef<HTMLButtonElement>(null);
  const bin = useRef<HTMLSpanElement>(null);
  const hadFocus = useRef(false);
  useEffect(() => {
    // The button that was pressed is gone: the keyboard goes on at the one that takes its place.
    if (deletion === "waiting" && hadFocus.current) undo.current?.focus();
    if (deletion === undefined && hadFocus.current) {
      hadFocus.current = false;
      bin.current?.querySelector("button")?.focus();
    }
  }, [deletion]);
  if (deletion !== undefined) {
    return (
      <li className="conversation-going">
        <span role="status">
          {deletion === "failed" ? `“${title}” could not be deleted.` : `“${title}” is deleted.`}
        </span>
        {deletion === "waiting" && (
          <button
            type="button"
            ref={undo}
            className="button button-plain button-s"
            onClick={() => deletions.undo(id)}
          >
            Undo
          </button>
        )}
        {deletion === "failed" && (
          <Button size="s" onClick={() => deletions.again(id)}>
            Try again
          </Button>
        )}
      </li>
    );
  }
  return (
    <li className="conversation-row">
      <Link href={`/history/${id}`} className="conversation-link">
        <span className="conversation-title">{title}</span>
        {preview && <span className="conversation-preview">{preview}</span>}
        <span className="conversation-facts tabular">
          {started && <time dateTime={started.toISOString()}>{timeWords(started)}</time>}
          {lasted > 0 && <span>{lengthWords(lasted)}</span>}
          <span>{count(turns, "turn")}</span>
          {corrections > 0 && (
            <span className="conversation-notes">
              <Icon name="bulb" size={14} />
              {count(corrections, "note")}
            </span>
          )}
        </span>
      </Link>
      <span ref={bin}>
        <IconButton
          icon="trash"
          label={`Delete “${title}”${started ? ` of ${timeWords(started)}` : ""}`}
          size={18}
          onClick={() => {
            hadFocus.current = true;
            deletions.delete(id);
          }}
        />
      </span>
    </li>
  );
}
