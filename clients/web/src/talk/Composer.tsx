import { type SubmitEvent, useRef } from "react";

import { IconButton } from "@/ui/Button";

import "./composer.css";
import { talk } from "./talk";

/** For when one cannot speak: a line to write. */
export function Composer({ focus }: { readonly focus: boolean }) {
  const ref = useRef<HTMLInputElement>(null);
  const submit = (event: SubmitEvent) => {
    event.preventDefault();
    const input = ref.current;
    if (!input?.value.trim()) return;
    talk.say(input.value);
    input.value = "";
  };
  return (
    <form className="composer" onSubmit={submit}>
      <input
        ref={ref}
        className="input"
        aria-label="Write instead of speaking"
        placeholder="Write instead of speaking…"
        maxLength={2000}
        autoComplete="off"
        enterKeyHint="send"
        // It appears because the learner asked for it, to write at once.
        // eslint-disable-next-line jsx-a11y/no-autofocus
        autoFocus={focus}
      />
      <IconButton icon="send" label="Send" type="submit" />
    </form>
  );
}
