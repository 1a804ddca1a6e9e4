/** Getting what is kept out of Parley: sound and words, as files or to play. */

import { ExportFormat } from "@parley/stubs/parley/history/v1/history_pb";
import { AudioEncoding, AudioTrack } from "@parley/stubs/parley/types/v1/audio_pb";

import { histories, media } from "@/rpc/clients";

/** A file in memory. */
export interface Downloaded {
  readonly blob: Blob;
  readonly name: string;
}

// Streams take as long as they take; what hangs is ended by the server's own limits.
const NO_TIMEOUT = { timeoutMs: 0 } as const;

/** What this browser can play, the smaller form first. */
export function playableEncoding(): AudioEncoding {
  const opus = document.createElement("audio").canPlayType('audio/ogg; codecs="opus"');
  return opus ? AudioEncoding.OGG_OPUS : AudioEncoding.MP3;
}

/** Fetches a recording. `progress` is told the share that has come, 0 to 1. */
export async function downloadSound(
  recordingId: string,
  track: AudioTrack,
  encoding: AudioEncoding,
  signal: AbortSignal,
  progress: (share: number) => void = () => undefined,
): Promise<Downloaded> {
  const pieces: Uint8Array<ArrayBuffer>[] = [];
  let type = "audio/ogg";
  let name = "conversation";
  let total = 0;
  let come = 0;
  const request = { recordingId, track, encoding };
  for await (const each of media.downloadRecording(request, { signal, ...NO_TIMEOUT })) {
    if (each.info) {
      type = each.info.contentType;
      name = each.info.fileName;
      total = Number(each.info.totalBytes);
    }
    if (each.chunk.length === 0) continue;
    pieces.push(each.chunk as Uint8Array<ArrayBuffer>);
    come += each.chunk.length;
    if (total > 0) progress(Math.min(1, come / total));
  }
  return { blob: new Blob(pieces, { type }), name };
}

/** Fetches what was said, to read (`text`) or with every detail (`json`). */
export async function downloadWords(
  conversationId: string,
  form: "text" | "json",
  signal: AbortSignal,
): Promise<Blob> {
  const pieces: Uint8Array<ArrayBuffer>[] = [];
  const format = form === "text" ? ExportFormat.TEXT : ExportFormat.JSON_LINES;
  const request = { format, conversationIds: [conversationId] };
  for await (const each of histories.exportConversations(request, { signal, ...NO_TIMEOUT }))
    pieces.push(each.chunk as Uint8Array<ArrayBuffer>);
  const type = form === "text" ? "text/plain;charset=utf-8" : "application/json";
  return new Blob(pieces, { type });
}

/** The name of a file about a conversation: "free-talk-2026-03-09-1405.txt". */
export function fileName(title: string, started: Date | undefined, extension: string): string {
  const slug = title
    .normalize("NFKD")
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, "-")
    .replace(/^-+|-+$/g, "");
  const two = (value: number) => String(value).padStart(2, "0");
  const when =
    started &&
    `${started.getFullYear()}-${two(started.getMonth() + 1)}-${two(started.getDate())}-` +
      `${two(started.getHours())}${two(started.getMinutes())}`;
  return `${[slug || "conversation", when].filter(Boolean).join("-")}.${extension}`;
}
