import { timestampDate } from "@bufbuild/protobuf/wkt";
import type { ConversationSummary, TurnRecord } from "@parley/stubs/parley/history/v1/history_pb";
import { useState, useSyncExternalStore } from "react";
import { Link, useLocation } from "wouter";

import { toast } from "@/app/toasts";
import { histories } from "@/rpc/clients";
import { useCall } from "@/rpc/use-call";
import { Button } from "@/ui/Button";
import { Icon } from "@/ui/Icon";
import { PageHeading } from "@/ui/PageHeading";
import { ProblemCard } from "@/ui/ProblemCard";
import { Skeleton } from "@/ui/Skeleton";
import { dayWords, timeWords } from "@/ui/words";

import "./conversation-page.css";
import { deletions } from "./conversation-deletions";
import { DownloadDialog } from "./DownloadDialog";
import { Facts } from "./Facts";
import { Playback } from "./Playback";
import { titleOf } from "./summary";

/** A conversation with all its turns. */
interface Whole {
  readonly conversation: ConversationSummary | undefined;
  readonly turns: readonly TurnRecord[];
}

async function readWhole(conversationId: string, signal: AbortSignal): Promise<Whole> {
  const turns: TurnRecord[] = [];
  let conversation: ConversationSummary | undefined;
  let pageToken = "";
  do {
    // A page says where the next begins: one after another.
    const page = await histories.getConversation({ conversationId, pageToken }, { signal });
    conversation ??= page.conversation;
    turns.push(...page.turns);
    pageToken = page.nextPageToken;
  } while (pageToken);
  return { conversation, turns };
}

/** One conversation of the past: to read, to hear, to keep, to delete. */
export default function ConversationPage({ id }: { readonly id: string }) {
  const { value, problem, pending, again } = useCall(id, (signal) => readWhole(id, signal));
  const deletion = useSyncExternalStore(deletions.subscribe, deletions.states).get(id);
  const conversation = value?.conversation;
  const title = conversation ? titleOf(conversation) : "Conversation";
  const started = conversation?.startedAt && timestampDate(conversation.startedAt);
  return (
    <div className="page conversation">
      <p className="conversation-back">
        <Link href="/history">
          <Icon name="arrow-left" size={18} />
          History
        </Link>
      </p>
      <header className="conversation-head">
        <div>
          <PageHeading title={title} />
          {started && (
            <p className="conversation-when">
              <time dateTime={started.toISOString()}>
                {dayWords(started, new Date())}, {timeWords(started)}
              </time>
            </p>
          )}
        </div>
        {conversation && <Actions conversation={conversation} title={title} />}
      </header>
      {deletion === "waiting" && (
        <div className="conversation-leaving" role="status">
          <p>This conversation is deleted.</p>
          <Button size="s" onClick={() => deletions.undo(id)}>
            Undo
          </Button>
        </div>
      )}
      {problem && (
        <ProblemCard problem={problem} onWayOn={again}>
          <Link className="button button-plain button-s" href="/history">
            Back to History
          </Link>
        </ProblemCard>
      )}
      {pending && !value && (
        <div role="status">
          <span className="unseen">Reading the conversation…</span>
          <Skeleton widths={["30%", "70%", "62%", "35%", "80%", "48%"]} />
        </div>
      )}
      {conversation && (
        <>
          <Facts conversation={conversation} />
          <Playback conversation={conversation} turns={value.turns} />
        </>
      )}
    </div>
  );
}

function Actions({
  conversation,
  title,
}: {
  readonly conversation: ConversationSummary;
  readonly title: string;
}) {
  const [, navigate] = useLocation();
  const [downloading, setDownloading] = useState(false);
  const id = conversation.conversationId;
  return (
    <div className="conversation-actions">
      <Button icon="download" size="s" onClick={() => setDownloading(true)}>
        Download
      </Button>
      <Button
        icon="trash"
        size="s"
        look="danger"
        onClick={() => {
          deletions.delete(id);
          toast(`“${title}” is deleted.`, {
            label: "Undo",
            run: () => {
              if (deletions.undo(id)) navigate(`/history/${id}`);
            },
          });
          navigate("/history");
        }}
      >
        Delete
      </Button>
      <DownloadDialog
        open={downloading}
        onClose={() => setDownloading(false)}
        conversation={conversation}
      />
    </div>
  );
}
