import { type SubmitEvent, useId, useState } from "react";

import { toast } from "@/app/toasts";
import { forgetSignIn, useAccount } from "@/auth/session";
import { users } from "@/rpc/clients";
import { type Problem, problemFromError } from "@/rpc/problem";
import { refusalFromError } from "@/rpc/refusal";
import { Button } from "@/ui/Button";
import { useCountdown, waitWords } from "@/ui/countdown";
import { Dialog } from "@/ui/Dialog";
import { TextField } from "@/ui/Field";
import { formText } from "@/ui/form-text";
import { PasswordField } from "@/ui/PasswordField";
import { ProblemCard } from "@/ui/ProblemCard";

/** What has to be typed, so that nobody deletes years of practice by a slip of the hand. */
export const CONFIRMATION = "delete";

/** The button, and the dialog that asks twice. */
export function DeleteAccount() {
  const account = useAccount();
  const [open, setOpen] = useState(false);
  const [typed, setTyped] = useState("");
  const [wrong, setWrong] = useState<string | undefined>();
  const [problem, setProblem] = useState<Problem | null>(null);
  const [busy, setBusy] = useState(false);
  const [wait, beginWait] = useCountdown();
  const formId = useId();
  const confirmed = typed.trim().toLowerCase() === CONFIRMATION;
  const close = () => {
    if (busy) return;
    setOpen(false);
    setTyped("");
    setWrong(undefined);
    setProblem(null);
  };
  const submit = async (event: SubmitEvent<HTMLFormElement>) => {
    event.preventDefault();
    if (!confirmed || busy || wait > 0) return;
    const password = formText(event.currentTarget, "password");
    if (!password) {
      setWrong("Type your password.");
      return;
    }
    setBusy(true);
    setWrong(undefined);
    setProblem(null);
    try {
      await users.deleteAccount({ password });
      toast("Your account is deleted. Goodbye, and good luck.");
      forgetSignIn();
    } catch (error) {
      const told = problemFromError(error);
      if (refusalFromError(error).reason === "BAD_CREDENTIALS")
        setWrong("This is not your password.");
      else setProblem(told);
      beginWait(told.retryAfterMs);
      setBusy(false);
    }
  };
  return (
    <>
      <div>
        <Button look="danger" icon="trash" onClick={() => setOpen(true)}>
          Delete the account…
        </Button>
      </div>
      <Dialog
        open={open}
        onClose={close}
        title="Delete everything?"
        actions={
          <>
            <Button onClick={close} disabled={busy}>
              Keep it
            </Button>
            <Button
              look="danger"
              type="submit"
              form={formId}
              busy={busy}
              disabled={!confirmed || wait > 0}
            >
              {wait > 0 ? `You can try again in ${waitWords(wait)}` : "Delete for good"}
            </Button>
          </>
        }
      >
        <form id={formId} className="part-form" noValidate onSubmit={(event) => void submit(event)}>
          <p>
            Everything of {account?.username ? <strong>{account.username}</strong> : "this account"}{" "}
            goes: profile, conversations, notes, recordings. If you want a copy, make it first.
          </p>
          {problem && <ProblemCard problem={{ ...problem, wayOn: "none" }} />}
          <TextField
            label={`Type “${CONFIRMATION}” to go on`}
            value={typed}
            onChange={(event) => setTyped(event.target.value)}
            autoComplete="off"
            autoCapitalize="none"
            spellCheck={false}
          />
          <PasswordField
            label="Your password"
            name="password"
            autoComplete="current-password"
            error={wrong}
          />
        </form>
      </Dialog>
    </>
  );
}
