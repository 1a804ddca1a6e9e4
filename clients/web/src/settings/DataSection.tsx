import { useEffect, useRef, useState } from "react";

import { saveFile } from "@/device/save-file";
import { users } from "@/rpc/clients";
import { type Problem, problemFromError } from "@/rpc/problem";
import { Button } from "@/ui/Button";
import { Switch } from "@/ui/Field";
import { ProblemCard } from "@/ui/ProblemCard";

import "./data-section.css";
import { DeleteAccount } from "./DeleteAccount";
import { Part } from "./Part";

/** Taking everything along, and taking everything away. */
export function DataSection() {
  return (
    <>
      <Part
        title="A copy of everything"
        about="One ZIP file with your profile, every conversation with its notes, and, if you like, the recordings. It is made for you alone, now."
      >
        <Export />
      </Part>
      <Part
        title="Delete the account"
        about="Your profile, your conversations, your notes and your recordings go for good, everywhere. Nobody can bring them back."
      >
        <DeleteAccount />
      </Part>
    </>
  );
}

function Export() {
  const [withSound, setWithSound] = useState(true);
  const [share, setShare] = useState<number | null>(null);
  const [done, setDone] = useState(false);
  const [problem, setProblem] = useState<Problem | null>(null);
  const call = useRef<AbortController | null>(null);
  useEffect(() => () => call.current?.abort(), []);
  const begin = async () => {
    const controller = new AbortController();
    call.current = controller;
    setShare(0);
    setDone(false);
    setProblem(null);
    try {
      const pieces: Uint8Array<ArrayBuffer>[] = [];
      const options = { signal: controller.signal, timeoutMs: 0 };
      for await (const each of users.exportData({ includeAudio: withSound }, options)) {
        if (each.chunk.length > 0) pieces.push(each.chunk as Uint8Array<ArrayBuffer>);
        setShare(each.progress);
      }
      saveFile(new Blob(pieces, { type: "application/zip" }), `parley-${today()}.zip`);
      setDone(true);
    } catch (error) {
      if (!controller.signal.aborted) setProblem(problemFromError(error));
    }
    setShare(null);
  };
  const percent = share === null ? 0 : Math.round(share * 100);
  return (
    <>
      <Switch
        label="With the recordings"
        hint="They can be large: about a megabyte a minute, both voices lossless."
        checked={withSound}
        onChange={setWithSound}
        disabled={share !== null}
      />
      {problem && <ProblemCard problem={problem} onWayOn={() => void begin()} />}
      <div className="part-row">
        <Button icon="download" busy={share !== null} onClick={() => void begin()}>
          Make the copy
        </Button>
        {share !== null && (
          <>
            <progress className="data-progress" max={100} value={percent} aria-label="The copy" />
            <span className="tabular" aria-hidden>
              {percent} %
            </span>
            <Button look="quiet" onClick={() => call.current?.abort()}>
              Stop
            </Button>
          </>
        )}
        <span role="status" className="part-saved">
          {done ? "Done. It lies where your downloads are." : ""}
        </span>
      </div>
    </>
  );
}

function today(): string {
  return new Intl.DateTimeFormat("en-CA", { dateStyle: "short" }).format(new Date());
}
