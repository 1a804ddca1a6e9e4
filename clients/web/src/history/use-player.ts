import { AudioTrack } from "@parley/stubs/parley/types/v1/audio_pb";
import { useCallback, useEffect, useState } from "react";

import { downloadSound, playableEncoding } from "./download";
import { Player } from "./player";

/** A player for a recording, let go with the component, and whose voice it plays. */
export function usePlayer(recordingId: string): {
  readonly player: Player;
  readonly track: AudioTrack;
  readonly setTrack: (track: AudioTrack) => void;
} {
  const [track, show] = useState(AudioTrack.MIX);
  const sourceOf = useCallback(
    (wanted: AudioTrack) =>
      async (signal: AbortSignal, progress: (share: number) => void): Promise<Blob> =>
        (await downloadSound(recordingId, wanted, playableEncoding(), signal, progress)).blob,
    [recordingId],
  );
  const [player, setPlayer] = useState(() => new Player(sourceOf(AudioTrack.MIX), new Audio()));
  useEffect(() => {
    // React may take a component away and bring it back: what was closed is made anew.
    const fresh = new Player(sourceOf(AudioTrack.MIX), new Audio());
    setPlayer(fresh);
    show(AudioTrack.MIX);
    return () => fresh.close();
  }, [sourceOf]);
  const setTrack = useCallback(
    (next: AudioTrack) => {
      show(next);
      player.change(sourceOf(next));
    },
    [player, sourceOf],
  );
  return { player, track, setTrack };
}
