import type { Voice } from "@parley/stubs/parley/ai/v1/ai_pb";

/** A voice in words: its name, and where its accent is from. Pure. */
export function voiceWords({ name, displayName, language }: Voice): string {
  return [displayName || name, accent(language)].filter(Boolean).join(" · ");
}

function accent(tag: string): string {
  try {
    return new Intl.DisplayNames("en", { type: "language" }).of(tag) ?? tag;
  } catch {
    return tag;
  }
}
