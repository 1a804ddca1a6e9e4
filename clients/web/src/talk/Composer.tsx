import { type SubmitEvent, useEffect, useRef, useState } from "react";

import { IconButton } from "@/ui/Button";

import "./composer.css";
import { talk } from "./talk";
import { useTalk } from "./use-talk";

/** For when one cannot speak: a line to write. What is sent before the talk is open waits for it. */
export function Composer({ focus }: { readonly focus: boolean }) {
  const form = useRef<HTMLFormElement>(null);
  const line = useRef<HTMLInputElement>(null);
  const phase = useTalk((state) => state.phase);
  const [waits, setWaits] = useState(false);
  const finishing = phase === "finishing";
  useEffect(() => {
    if (waits && phase === "live") form.current?.requestSubmit();
  }, [waits, phase]);
  const submit = (event: SubmitEvent) => {
    event.preventDefault();
    const input = line.current;
    if (!input?.value.trim()) return;
    const said = talk.say(input.value);
    if (said) input.value = "";
    setWaits(!said);
  };
  return (
    <form ref={form} className="composer" onSubmit={submit}>
      <input
        ref={line}
        className="input"
        aria-label="Write instead of speaking"
        placeholder="Write instead of speaking…"
        maxLength={2000}
        autoComplete="off"
        enterKeyHint="send"
        disabled={finishing}
        // What is being written on is not sent half-way.
        onChange={() => setWaits(false)}
        // It appears because the learner asked for it, to write at once.
        // eslint-disable-next-line jsx-a11y/no-autofocus
        autoFocus={focus}
      />
      <IconButton icon="send" label="Send" type="submit" disabled={finishing} />
      <p className="composer-waits" role="status">
        {waits && "This is sent as soon as the talk begins."}
      </p>
    </form>
  );
}
