import type { ConversationSummary, TurnRecord } from "@parley/stubs/parley/history/v1/history_pb";
import { type Recording, RecordingState } from "@parley/stubs/parley/media/v1/media_pb";
import { useEffect, useMemo, useRef } from "react";

import { media } from "@/rpc/clients";
import { refusalFromError } from "@/rpc/refusal";
import { useCall } from "@/rpc/use-call";
import { Icon } from "@/ui/Icon";
import { ProblemCard } from "@/ui/ProblemCard";

import "./playback.css";
import { PlayerBar } from "./PlayerBar";
import { PastTranscript } from "./PastTranscript";
import { turnView } from "./lines";
import { useFollowing } from "./use-following";
import { usePlayer } from "./use-player";

// A recording of ten minutes is encoded in a few seconds.
const ASK_AGAIN_MS = 3_000;

/** The words of a conversation, and its sound where it was recorded. */
export function Playback({
  conversation,
  turns,
}: {
  readonly conversation: ConversationSummary;
  readonly turns: readonly TurnRecord[];
}) {
  const views = useMemo(() => turns.map(turnView), [turns]);
  const { recording, problem, again } = useRecording(conversation.conversationId);
  const ready = recording?.state === RecordingState.READY ? recording : undefined;
  const player = usePlayer(ready?.recordingId ?? "");
  const lines = useMemo(() => views.flatMap((each) => each.lines), [views]);
  const list = useRef<HTMLOListElement>(null);
  const following = useFollowing(player.player, lines, list);
  return (
    <>
      {problem && <ProblemCard problem={problem} onWayOn={again} />}
      {!problem && recording !== undefined && !ready && <WhyNoSound recording={recording} />}
      {views.length === 0 ? (
        <p className="playback-empty">Nobody said anything in this one.</p>
      ) : (
        <PastTranscript
          ref={list}
          turns={views}
          place={following.place}
          {...(ready && { onPlayFrom: (ms: number) => player.player.play(ms) })}
        />
      )}
      {ready && (
        <PlayerBar
          player={player.player}
          durationMs={Number(ready.durationMs)}
          waveform={ready.waveform}
          track={player.track}
          onTrack={player.setTrack}
          follows={following.follows}
          onFollow={following.follow}
        />
      )}
    </>
  );
}

/** The recording; null where there is none, undefined until that is known. */
function useRecording(conversationId: string) {
  const call = useCall(`recording ${conversationId}`, async (signal) => {
    const key = { case: "conversationId", value: conversationId } as const;
    try {
      return (await media.getRecording({ key }, { signal })).recording ?? null;
    } catch (error) {
      if (refusalFromError(error).reason === "RECORDING_NOT_FOUND") return null;
      throw error;
    }
  });
  const { value, again, problem } = call;
  const underWay =
    value?.state === RecordingState.RECORDING || value?.state === RecordingState.PROCESSING;
  useEffect(() => {
    if (!underWay) return;
    const timer = setInterval(again, ASK_AGAIN_MS);
    return () => clearInterval(timer);
  }, [underWay, again]);
  return { recording: value, problem: value === undefined ? problem : null, again };
}

function WhyNoSound({ recording }: { readonly recording: Recording | null }) {
  const state = recording?.state;
  const underWay = state === RecordingState.RECORDING || state === RecordingState.PROCESSING;
  return (
    <p className="playback-none" role="status">
      <Icon name={underWay ? "clock" : "info"} size={18} />
      {underWay
        ? "The recording is being finished. It will be here in a moment."
        : state === RecordingState.FAILED
          ? "The recording of this conversation could not be kept. The words are all here."
          : "This conversation was not recorded. The words are all here."}
    </p>
  );
}
