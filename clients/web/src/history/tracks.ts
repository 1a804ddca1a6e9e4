import { AudioTrack } from "@parley/stubs/parley/types/v1/audio_pb";

/** Whose voice can be heard of a recording, in words. */
export const TRACKS = [
  [AudioTrack.MIX, "Both voices"],
  [AudioTrack.LEARNER, "Only you"],
  [AudioTrack.TUTOR, "Only the tutor"],
] as const;

/** The track of a choice's value. */
export function trackNamed(value: string): AudioTrack {
  return TRACKS.find(([track]) => String(track) === value)?.[0] ?? AudioTrack.MIX;
}
