import { useEffect, useState } from "react";

import { Button, IconButton } from "@/ui/Button";
import { Dialog } from "@/ui/Dialog";
import { PageHeading } from "@/ui/PageHeading";
import { ProblemCard } from "@/ui/ProblemCard";
import { Spinner } from "@/ui/Spinner";
import { usePreferences } from "@/wishes/talk-preferences";

import { AnotherTalk } from "./AnotherTalk";
import { Announcer } from "./Announcer";
import { useCatalog } from "./catalog";
import { Choices } from "./Choices";
import { Composer } from "./Composer";
import { DiagnosticsDialog } from "./DiagnosticsDialog";
import { clock, floorWords } from "./floor-words";
import "./live-talk.css";
import { Orb } from "./Orb";
import { talk } from "./talk";
import { useTalkKeys } from "./talk-keys";
import { Transcript } from "./Transcript";
import { useTalk } from "./use-talk";

// Slow enough to hear every sound, fast enough to still be speech.
const SLOWLY = 0.7;

/** The talk itself. */
export function LiveTalk() {
  const [choosing, setChoosing] = useState(false);
  const [diagnosing, setDiagnosing] = useState(false);
  useTalkKeys();
  return (
    <div className="talk-live">
      <Head onChoose={() => setChoosing(true)} onDiagnose={() => setDiagnosing(true)} />
      <Announcer />
      <Banners />
      <Transcript />
      <Dock />
      <ChoicesDialog open={choosing} onClose={() => setChoosing(false)} />
      <DiagnosticsDialog open={diagnosing} onClose={() => setDiagnosing(false)} />
    </div>
  );
}

function Head({
  onChoose,
  onDiagnose,
}: {
  readonly onChoose: () => void;
  readonly onDiagnose: () => void;
}) {
  const scenario = useTalk((state) => state.view.scenario);
  const phase = useTalk((state) => state.phase);
  return (
    <header className="talk-head">
      <div>
        <PageHeading title={scenario?.title ?? "Your talk"} />
        <Elapsed />
      </div>
      <IconButton icon="signal" label="Diagnostics" onClick={onDiagnose} />
      <IconButton icon="settings" label="Tutor, voice and how you talk" onClick={onChoose} />
      <Button size="s" look="danger" busy={phase === "finishing"} onClick={() => talk.finish()}>
        {phase === "starting" ? "Cancel" : "End"}
      </Button>
    </header>
  );
}

function Elapsed() {
  const startedAt = useTalk((state) => state.startedAt);
  const [now, setNow] = useState(() => performance.now());
  useEffect(() => {
    const timer = setInterval(() => setNow(performance.now()), 1000);
    return () => clearInterval(timer);
  }, []);
  return (
    <span className="talk-elapsed tabular">
      {startedAt !== 0 ? clock(now - startedAt) : "0:00"}
    </span>
  );
}

function Banners() {
  const floor = useTalk((state) => state.view.floor);
  const notices = useTalk((state) => state.view.notices);
  const timeLeftMs = useTalk((state) => state.view.timeLeftMs);
  const microphoneProblem = useTalk((state) => state.microphoneProblem);
  const soundStopped = useTalk((state) => state.soundStopped);
  return (
    <div className="banners">
      {floor === "reconnecting" && (
        <div className="banner banner-warn" role="alert">
          <Spinner />
          <span>The connection was lost. We are trying again; what you say is kept.</span>
          <Button size="s" onClick={() => talk.hurry()}>
            Try now
          </Button>
        </div>
      )}
      {timeLeftMs !== null && floor !== "reconnecting" && (
        <div className="banner" role="status">
          <span>The server is being restarted. The talk goes on by itself in a moment.</span>
        </div>
      )}
      {soundStopped && (
        <div className="banner banner-warn" role="alert">
          <span>The sound stopped. Tap to go on.</span>
          <Button size="s" onClick={() => talk.wakeSound()}>
            Go on
          </Button>
        </div>
      )}
      {microphoneProblem && (
        <ProblemCard problem={microphoneProblem} onWayOn={() => void talk.listenAgain()} />
      )}
      {notices.map(({ id, problem }) => (
        <div className="banner" role="status" key={id}>
          <span>
            <strong>{problem.title}</strong> {problem.advice}
          </span>
          <IconButton icon="close" size={16} label="Dismiss" onClick={() => talk.dismiss(id)} />
        </div>
      ))}
    </div>
  );
}

function Dock() {
  const floor = useTalk((state) => state.view.floor);
  const phase = useTalk((state) => state.phase);
  const muted = useTalk((state) => state.muted);
  const holding = useTalk((state) => state.holding);
  const listening = useTalk((state) => state.listening);
  const replaying = useTalk((state) => state.replay !== null);
  const canRepeat = useTalk(() => talk.canRepeat);
  const { pushToTalk, captionsOnly } = usePreferences();
  const [writing, setWriting] = useState(false);
  const hears = listening === "on";
  // Also where the microphone is gone in the middle: the talk goes on, written.
  const typedOnly = listening === "typed-only" || listening === "lost";
  const finishing = phase === "finishing";
  const words = floorWords(floor, { muted, pushToTalk, holding, hears, finishing });
  return (
    <footer className="dock">
      {(writing || typedOnly) && <Composer focus={writing} />}
      <div className="dock-row">
        <div className="dock-side">
          <IconButton
            icon={muted ? "mic-off" : "mic"}
            label={muted ? "Unmute" : "Mute"}
            pressed={muted}
            disabled={!hears}
            onClick={() => talk.setMuted(!muted)}
          />
          <IconButton
            icon="keyboard"
            label="Write"
            pressed={writing || typedOnly}
            disabled={typedOnly}
            onClick={() => setWriting(!writing)}
          />
          <IconButton
            className="dock-captions"
            icon="captions"
            label="Captions only"
            pressed={captionsOnly}
            onClick={() => talk.prefer({ captionsOnly: !captionsOnly })}
          />
        </div>
        <Orb />
        <div className="dock-side">
          <IconButton
            icon={replaying ? "stop" : "repeat"}
            label={replaying ? "Stop repeating" : "Say that again"}
            disabled={!canRepeat}
            onClick={() => talk.repeatLast()}
          />
          <IconButton
            icon="turtle"
            label="Say that again, slowly"
            disabled={!canRepeat || replaying}
            onClick={() => talk.repeatLast(SLOWLY)}
          />
        </div>
      </div>
      <p className="dock-words">
        <strong>{words.title}</strong>
        <span>{words.hint || "\u00a0"}</span>
      </p>
    </footer>
  );
}

function ChoicesDialog({
  open,
  onClose,
}: {
  readonly open: boolean;
  readonly onClose: () => void;
}) {
  return (
    <Dialog open={open} onClose={onClose} title="How you talk" wide>
      <LiveChoices onClose={onClose} />
    </Dialog>
  );
}

/** Asks what there is only when somebody wants to choose. */
function LiveChoices({ onClose }: { readonly onClose: () => void }) {
  const catalog = useCatalog();
  return (
    <>
      {catalog.problem && !catalog.value && (
        <ProblemCard problem={catalog.problem} onWayOn={catalog.again} />
      )}
      <Choices catalog={catalog.value} live />
      {catalog.value && <AnotherTalk catalog={catalog.value} onBegin={onClose} />}
    </>
  );
}
