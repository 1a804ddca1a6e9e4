import { type SubmitEvent, useState } from "react";

import { useAccount } from "@/auth/session";
import { access, users } from "@/rpc/clients";
import { type Problem, problemFromError } from "@/rpc/problem";
import { refusalFromError } from "@/rpc/refusal";
import { Button } from "@/ui/Button";
import { useCountdown, waitWords } from "@/ui/countdown";
import { formText } from "@/ui/form-text";
import { PasswordField } from "@/ui/PasswordField";
import { ProblemCard } from "@/ui/ProblemCard";

import { Part } from "./Part";

interface Wrong {
  readonly old?: string;
  readonly fresh?: string;
}

/** Changing the password. */
export function PasswordPart() {
  const account = useAccount();
  const [wrong, setWrong] = useState<Wrong>({});
  const [problem, setProblem] = useState<Problem | null>(null);
  const [busy, setBusy] = useState(false);
  const [done, setDone] = useState(false);
  const [wait, beginWait] = useCountdown();
  const submit = async (event: SubmitEvent<HTMLFormElement>) => {
    event.preventDefault();
    if (busy || wait > 0) return;
    const form = event.currentTarget;
    const oldPassword = formText(form, "old");
    const newPassword = formText(form, "new");
    const found = wrongWith(oldPassword, newPassword);
    setWrong(found);
    setProblem(null);
    setDone(false);
    if (found.old ?? found.fresh) {
      focus(form, found.old ? "old" : "new");
      return;
    }
    setBusy(true);
    try {
      const { tokens } = await users.changePassword({ oldPassword, newPassword });
      access.accept(tokens);
      form.reset();
      setDone(true);
    } catch (error) {
      const told = problemFromError(error);
      const { new_password: tooEasy } = told.fields;
      if (refusalFromError(error).reason === "BAD_CREDENTIALS") {
        setWrong({ old: "This is not your password of now." });
        focus(form, "old");
      } else if (tooEasy) {
        setWrong({ fresh: `It ${tooEasy}. Choose another.` });
        focus(form, "new");
      } else {
        setProblem(told);
        beginWait(told.retryAfterMs);
      }
    }
    setBusy(false);
  };
  return (
    <Part
      title="Password"
      about="A new password signs you out on every other device. This one stays signed in."
    >
      <form className="part-form" noValidate onSubmit={(event) => void submit(event)}>
        {problem && <ProblemCard problem={{ ...problem, wayOn: "none" }} />}
        {/* So that a password manager knows whose password this is. */}
        <input
          type="text"
          name="username"
          autoComplete="username"
          value={account?.username ?? ""}
          readOnly
          hidden
        />
        <PasswordField
          label="Your password now"
          name="old"
          autoComplete="current-password"
          error={wrong.old}
        />
        <PasswordField
          label="New password"
          name="new"
          autoComplete="new-password"
          hint="8 to 256 characters. Pasting is fine."
          error={wrong.fresh}
        />
        <div className="part-row">
          <Button type="submit" busy={busy} disabled={wait > 0}>
            {wait > 0 ? `You can try again in ${waitWords(wait)}` : "Change the password"}
          </Button>
          <span role="status" className="part-saved">
            {done ? "Changed. Your other devices are signed out." : ""}
          </span>
        </div>
      </form>
    </Part>
  );
}

function wrongWith(old: string, fresh: string): Wrong {
  if (!old) return { old: "Type the password that you sign in with now." };
  if (Array.from(fresh).length < 8) return { fresh: "A little longer: at least 8 characters." };
  if (fresh === old) return { fresh: "This is the one you have already." };
  return {};
}

function focus(form: HTMLFormElement, name: string): void {
  const field = form.elements.namedItem(name);
  if (field instanceof HTMLInputElement) field.focus();
}
