import { useEffect, useRef } from "react";

import { classes } from "@/ui/classes";
import { Icon, type IconName } from "@/ui/Icon";
import { usePreferences } from "@/wishes/talk-preferences";

import "./orb.css";
import { talk } from "./talk";
import { useTalk } from "./use-talk";
import type { Floor } from "./session-view";

/** What the one big control is just now: how it looks and what pressing it does. */
export interface OrbRole {
  readonly look: "waiting" | "mine" | "thinking" | "tutor" | "off";
  readonly icon: IconName;
  /** What it does, read aloud. */
  readonly label: string;
  readonly press: "mute" | "unmute" | "interrupt" | "hold" | "listen-again" | "none";
}

/** Decides what the control is. Pure. */
export function orbRole(
  floor: Floor,
  {
    muted,
    pushToTalk,
    holding,
    hears,
    asking,
    sounding,
  }: {
    readonly muted: boolean;
    readonly pushToTalk: boolean;
    readonly holding: boolean;
    readonly hears: boolean;
    /** Whether the browser is being asked for the microphone. */
    readonly asking: boolean;
    /** Whether the tutor can be heard. */
    readonly sounding: boolean;
  },
): OrbRole {
  if (floor === "reconnecting" && sounding) {
    return { look: "tutor", icon: "stop", label: "Stop the tutor", press: "interrupt" };
  }
  if (floor === "connecting" || floor === "reconnecting" || floor === "ended") {
    return { look: "thinking", icon: "mic", label: "Connecting", press: "none" };
  }
  if (pushToTalk && hears) {
    if (holding)
      return { look: "mine", icon: "mic", label: "Let go when you have finished", press: "hold" };
    const look = floor === "tutor" ? "tutor" : floor === "thinking" ? "thinking" : "waiting";
    return { look, icon: "mic", label: "Hold to talk", press: "hold" };
  }
  if (floor === "tutor" || floor === "held") {
    return { look: "tutor", icon: "stop", label: "Stop the tutor", press: "interrupt" };
  }
  if (floor === "thinking") {
    return { look: "thinking", icon: "stop", label: "Stop the answer", press: "interrupt" };
  }
  if (asking) {
    return { look: "off", icon: "mic", label: "Waiting for the microphone", press: "none" };
  }
  if (!hears) {
    return { look: "off", icon: "mic-off", label: "Use the microphone", press: "listen-again" };
  }
  if (muted)
    return { look: "off", icon: "mic-off", label: "Unmute the microphone", press: "unmute" };
  const look = floor === "learner" ? "mine" : "waiting";
  return { look, icon: "mic", label: "Mute the microphone", press: "mute" };
}

// Speech lies about here: louder fills the ring, softer is drawn larger than it is.
const FULL_LEVEL = 0.18;
// The ring follows a voice upwards at once and sinks slowly, as an eye likes it.
const FALL = 0.88;

/** The one big control. Its halo moves with the voice of whoever speaks. */
export function Orb() {
  const floor = useTalk((state) => state.view.floor);
  const muted = useTalk((state) => state.muted);
  const holding = useTalk((state) => state.holding);
  const listening = useTalk((state) => state.listening);
  const { pushToTalk } = usePreferences();
  const sounding = useTalk((state) => state.sounding);
  const hears = listening === "on";
  const asking = listening === "asking";
  const role = orbRole(floor, { muted, pushToTalk, holding, hears, asking, sounding });
  const ref = useRef<HTMLButtonElement>(null);
  useEffect(() => {
    let frame = 0;
    let shown = 0;
    let drawn = "";
    const draw = () => {
      const { learner, tutor } = talk.levels;
      const loud = Math.min(1, Math.sqrt(Math.max(learner, tutor) / FULL_LEVEL));
      shown = Math.max(loud, shown * FALL);
      const level = shown.toFixed(2);
      // Nothing is drawn for what has not changed: without a graphics processor that costs as much
      // as the sound, on a machine that may have the models to run as well.
      if (level !== drawn) ref.current?.style.setProperty("--level", (drawn = level));
      frame = requestAnimationFrame(draw);
    };
    draw();
    return () => cancelAnimationFrame(frame);
  }, []);
  const held = role.press === "hold";
  return (
    <button
      ref={ref}
      type="button"
      className={classes("orb", `orb-${role.look}`, floor === "held" && "orb-held")}
      aria-label={role.label}
      title={role.label}
      aria-disabled={role.press === "none" || undefined}
      aria-pressed={held ? holding : undefined}
      onClick={(event) => {
        if (!held) press(role.press);
        // Not from a pointer: a screen reader or a voice control, which cannot hold.
        else if (event.detail === 0) toggle(holding);
      }}
      onPointerDown={(event) => {
        if (!held) return;
        event.currentTarget.setPointerCapture(event.pointerId);
        talk.hold();
      }}
      onPointerUp={() => held && talk.letGo()}
      onPointerCancel={() => held && talk.letGo()}
      onContextMenu={(event) => held && event.preventDefault()}
    >
      <span className="orb-halo" />
      <span className="orb-halo orb-halo-far" />
      <span className="orb-body">
        {role.look === "thinking" ? (
          <span className="orb-dots">
            <i />
            <i />
            <i />
          </span>
        ) : (
          <Icon name={role.icon} size={40} />
        )}
      </span>
    </button>
  );
}

function toggle(holding: boolean): void {
  if (holding) talk.letGo();
  else talk.hold();
}

function press(what: OrbRole["press"]): void {
  if (what === "mute") talk.setMuted(true);
  else if (what === "unmute") talk.setMuted(false);
  else if (what === "interrupt") talk.interrupt();
  else if (what === "listen-again") void talk.listenAgain();
}
