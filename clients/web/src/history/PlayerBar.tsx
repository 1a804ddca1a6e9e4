import type { AudioTrack } from "@parley/stubs/parley/types/v1/audio_pb";
import { useEffect, useMemo, useRef, useState, useSyncExternalStore } from "react";

import { Button, IconButton } from "@/ui/Button";
import { Icon } from "@/ui/Icon";
import { ProblemCard } from "@/ui/ProblemCard";
import { Spinner } from "@/ui/Spinner";
import { clockWords, spokenLength } from "@/ui/words";

import "./player-bar.css";
import { PLAY_RATES, type Player } from "./player";
import { TRACKS, trackNamed } from "./tracks";
import { waveformPath } from "./waveform";

// As many as can be told apart in the width there is.
const BARS = { wide: 120, narrow: 44 } as const;
const STEP_MS = 5_000;

/** The recording's controls, at the foot of the window while the text is read. */
export function PlayerBar({
  player,
  durationMs,
  waveform,
  track,
  onTrack,
  follows,
  onFollow,
}: {
  readonly player: Player;
  readonly durationMs: number;
  readonly waveform: Uint8Array;
  readonly track: AudioTrack;
  readonly onTrack: (track: AudioTrack) => void;
  readonly follows: boolean;
  readonly onFollow: () => void;
}) {
  const { phase, playing, rate, fetched, problem } = useSyncExternalStore(
    player.subscribe,
    player.state,
  );
  const fetching = phase === "fetching";
  return (
    <section className="player" aria-label="Recording">
      {problem && <ProblemCard problem={problem} onWayOn={() => player.play()} />}
      {playing && !follows && (
        <Button size="s" className="player-follow" icon="captions" onClick={onFollow}>
          Follow along
        </Button>
      )}
      <div className="player-row">
        <IconButton
          icon="rewind"
          label="Back 5 seconds"
          className="player-back"
          onClick={() => player.seek(player.positionMs - STEP_MS)}
        />
        <button
          type="button"
          className="player-play"
          aria-label={playing ? "Pause" : "Play the recording"}
          title={playing ? "Pause" : "Play"}
          onClick={() => player.toggle()}
        >
          {fetching ? <Spinner size={22} /> : <Icon name={playing ? "pause" : "play"} size={24} />}
        </button>
        <Seeker player={player} durationMs={durationMs} waveform={waveform} playing={playing} />
        <label className="player-choice player-speed">
          <span className="unseen">Speed</span>
          <select value={rate} onChange={(event) => player.setRate(Number(event.target.value))}>
            {PLAY_RATES.map((each) => (
              <option key={each} value={each}>
                {each} ×
              </option>
            ))}
          </select>
        </label>
        <label className="player-choice player-track">
          <span className="unseen">Whose voice</span>
          <select value={track} onChange={(event) => onTrack(trackNamed(event.target.value))}>
            {TRACKS.map(([value, words]) => (
              <option key={value} value={value}>
                {words}
              </option>
            ))}
          </select>
        </label>
      </div>
      <p className="unseen" role="status">
        {fetching ? `Fetching the recording${fetched > 0.5 ? ", more than half is here" : ""}` : ""}
      </p>
    </section>
  );
}

function Seeker({
  player,
  durationMs,
  waveform,
  playing,
}: {
  readonly player: Player;
  readonly durationMs: number;
  readonly waveform: Uint8Array;
  readonly playing: boolean;
}) {
  const box = useRef<HTMLDivElement>(null);
  const range = useRef<HTMLInputElement>(null);
  const clock = useRef<HTMLSpanElement>(null);
  const [bars] = useState(() =>
    matchMedia("(max-width: 40rem)").matches ? BARS.narrow : BARS.wide,
  );
  const path = useMemo(() => waveformPath(waveform, bars), [waveform, bars]);
  useEffect(() => {
    let second = -1;
    const draw = () => {
      const at = Math.min(player.positionMs, durationMs);
      box.current?.style.setProperty("--played", String(durationMs > 0 ? at / durationMs : 0));
      if (range.current) range.current.value = String(Math.round(at));
      const now = Math.floor(at / 1000);
      if (now === second) return;
      second = now;
      if (clock.current) clock.current.textContent = clockWords(at);
      range.current?.setAttribute(
        "aria-valuetext",
        `${spokenLength(at)} of ${spokenLength(durationMs)}`,
      );
    };
    draw();
    let frame = 0;
    const again = () => {
      draw();
      frame = requestAnimationFrame(again);
    };
    if (playing) again();
    const unsubscribe = player.subscribe(draw);
    const element = range.current;
    element?.addEventListener("seeked", draw);
    return () => {
      cancelAnimationFrame(frame);
      unsubscribe();
      element?.removeEventListener("seeked", draw);
    };
  }, [player, durationMs, playing]);
  const seek = (ms: number) => {
    player.seek(Math.min(Math.max(0, ms), durationMs));
    range.current?.dispatchEvent(new Event("seeked"));
  };
  return (
    <div className="player-time tabular">
      <span ref={clock} aria-hidden>
        0:00
      </span>
      <div className="player-wave" ref={box}>
        <svg viewBox={`0 0 ${bars} 2`} preserveAspectRatio="none" aria-hidden>
          <path d={path} />
        </svg>
        <svg
          className="player-wave-played"
          viewBox={`0 0 ${bars} 2`}
          preserveAspectRatio="none"
          aria-hidden
        >
          <path d={path} />
        </svg>
        <input
          ref={range}
          type="range"
          aria-label="Position in the recording"
          min={0}
          max={Math.max(1, durationMs)}
          step={1}
          defaultValue={0}
          onInput={(event) => seek(Number(event.currentTarget.value))}
          onKeyDown={(event) => {
            const step = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1 }[event.key];
            const page = { PageDown: -6, PageUp: 6 }[event.key];
            const by = step ?? page;
            if (by === undefined) return;
            event.preventDefault();
            seek(player.positionMs + by * STEP_MS);
          }}
        />
      </div>
      <span aria-hidden>{clockWords(durationMs)}</span>
    </div>
  );
}
