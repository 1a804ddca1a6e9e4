import { AudioTrack } from "@parley/stubs/parley/types/v1/audio_pb";
import { useEffect, useState } from "react";

import { downloadSound, playableEncoding } from "./download";
import { type Fetch, Player } from "./player";

/** A player for a recording, let go with the component, and whose voice it plays. */
export function usePlayer(recordingId: string): {
  readonly player: Player;
  readonly track: AudioTrack;
  readonly setTrack: (track: AudioTrack) => void;
} {
  const [track, setTrack] = useState<AudioTrack>(AudioTrack.MIX);
  const [player] = useState(() => new Player(new Audio()));
  useEffect(() => player.open(), [player]);
  useEffect(() => player.use(sourceOf(recordingId, track)), [player, recordingId, track]);
  return { player, track, setTrack };
}

function sourceOf(recordingId: string, track: AudioTrack): Fetch {
  return async (signal, progress) => {
    const encoding = playableEncoding();
    return (await downloadSound(recordingId, track, encoding, signal, progress)).blob;
  };
}
