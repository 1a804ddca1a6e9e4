import { timestampDate } from "@bufbuild/protobuf/wkt";
import type { ConversationSummary } from "@parley/stubs/parley/history/v1/history_pb";
import { AudioEncoding, AudioTrack } from "@parley/stubs/parley/types/v1/audio_pb";
import { useEffect, useRef, useState } from "react";

import { saveFile } from "@/device/save-file";
import { type Problem, problemFromError } from "@/rpc/problem";
import { Button } from "@/ui/Button";
import { Dialog } from "@/ui/Dialog";
import { SelectField } from "@/ui/Field";
import { ProblemCard } from "@/ui/ProblemCard";

import { downloadSound, downloadWords, fileName } from "./download";
import "./download-dialog.css";
import { titleOf } from "./summary";
import { TRACKS, trackNamed } from "./tracks";

const SOUNDS = [
  [AudioEncoding.MP3, "mp3", "MP3", "Plays everywhere"],
  [AudioEncoding.OGG_OPUS, "opus", "Opus", "Small"],
  [AudioEncoding.WAV, "wav", "WAV", "To edit or measure; large"],
] as const;

/** What of a conversation can be kept elsewhere. */
export function DownloadDialog({
  open,
  onClose,
  conversation,
}: {
  readonly open: boolean;
  readonly onClose: () => void;
  readonly conversation: ConversationSummary;
}) {
  const { conversationId, recordingId } = conversation;
  const title = titleOf(conversation);
  const started = conversation.startedAt && timestampDate(conversation.startedAt);
  const [track, setTrack] = useState<AudioTrack>(AudioTrack.MIX);
  const [busy, setBusy] = useState("");
  const [share, setShare] = useState(0);
  const [problem, setProblem] = useState<Problem | null>(null);
  const call = useRef<AbortController | null>(null);
  useEffect(() => {
    if (!open) call.current?.abort();
  }, [open]);
  useEffect(() => () => call.current?.abort(), []);
  const get = async (extension: string, fetchIt: (signal: AbortSignal) => Promise<Blob>) => {
    const controller = new AbortController();
    call.current = controller;
    setBusy(extension);
    setShare(0);
    setProblem(null);
    try {
      saveFile(await fetchIt(controller.signal), fileName(title, started, extension));
    } catch (error) {
      if (!controller.signal.aborted) setProblem(problemFromError(error));
    }
    setBusy("");
  };
  return (
    <Dialog open={open} onClose={onClose} title="Download">
      {problem && <ProblemCard problem={{ ...problem, wayOn: "none" }} />}
      <section className="downloads">
        <h3>What was said</h3>
        <ul className="downloads-list">
          {(["text", "json"] as const).map((form) => (
            <li key={form}>
              <Button
                icon="download"
                busy={busy === (form === "text" ? "txt" : "json")}
                disabled={busy !== ""}
                onClick={() =>
                  void get(form === "text" ? "txt" : "json", (signal) =>
                    downloadWords(conversationId, form, signal),
                  )
                }
              >
                {form === "text" ? "Text" : "JSON"}
              </Button>
              <span>{form === "text" ? "To read and to print" : "With every time and note"}</span>
            </li>
          ))}
        </ul>
      </section>
      {recordingId && (
        <section className="downloads">
          <h3>The recording</h3>
          <SelectField
            label="Whose voice"
            value={track}
            onChange={(event) => setTrack(trackNamed(event.target.value))}
          >
            {TRACKS.map(([value, words]) => (
              <option key={value} value={value}>
                {words}
              </option>
            ))}
          </SelectField>
          <ul className="downloads-list">
            {SOUNDS.map(([encoding, extension, name, why]) => (
              <li key={extension}>
                <Button
                  icon="download"
                  busy={busy === extension}
                  disabled={busy !== ""}
                  onClick={() =>
                    void get(
                      extension,
                      async (signal) =>
                        (await downloadSound(recordingId, track, encoding, signal, setShare)).blob,
                    )
                  }
                >
                  {name}
                </Button>
                <span>{busy === extension ? `${Math.round(share * 100)} %` : why}</span>
              </li>
            ))}
          </ul>
        </section>
      )}
    </Dialog>
  );
}
