import { type SubmitEvent, useRef, useState } from "react";
import { Link } from "wouter";

import { type Problem, problemFromError } from "@/rpc/problem";
import { refusalFromError } from "@/rpc/refusal";
import { Button } from "@/ui/Button";
import { useCountdown, waitWords } from "@/ui/countdown";
import { TextField } from "@/ui/Field";
import { formText } from "@/ui/form-text";
import { PasswordField } from "@/ui/PasswordField";
import { ProblemCard } from "@/ui/ProblemCard";

import { AuthFrame } from "./AuthFrame";
import { type FieldErrors, focusFirstWrong, serverErrors, signUpErrors } from "./form";
import { handOverName, handedOverName } from "./handed-over";
import { signUp } from "./session";

/** Making an account. */
export default function SignUpPage() {
  const [problem, setProblem] = useState<Problem | null>(null);
  const [errors, setErrors] = useState<FieldErrors>({});
  const [takenName, setTakenName] = useState("");
  const [busy, setBusy] = useState(false);
  const [wait, beginWait] = useCountdown();
  const [knownName] = useState(handedOverName);
  // An answer that was lost must not make the name look taken by somebody else: the same name and
  // password are sent again under the same id.
  const attempt = useRef({ username: "", password: "", requestId: "" });
  const submit = async (event: SubmitEvent<HTMLFormElement>) => {
    event.preventDefault();
    if (busy || wait > 0) return;
    const form = event.currentTarget;
    const username = formText(form, "username").trim();
    const password = formText(form, "password");
    const wrong = signUpErrors(username, password);
    setErrors(wrong);
    setProblem(null);
    setTakenName("");
    if (Object.keys(wrong).length > 0) {
      focusFirstWrong(form, wrong);
      return;
    }
    if (attempt.current.username !== username || attempt.current.password !== password)
      attempt.current = { username, password, requestId: uuid() };
    setBusy(true);
    try {
      await signUp(username, password, username, attempt.current.requestId);
    } catch (error) {
      const found = problemFromError(error);
      const taken = refusalFromError(error).reason === "USERNAME_TAKEN";
      const named = taken ? { username: "Taken." } : serverErrors(found.fields);
      // What stands at a field needs no card above it.
      setProblem(!taken && Object.keys(named).length > 0 ? null : found);
      setTakenName(taken ? username : "");
      setErrors(named);
      beginWait(found.retryAfterMs);
      setBusy(false);
      focusFirstWrong(form, named);
    }
  };
  return (
    <AuthFrame title="Begin talking" onSubmit={(event) => void submit(event)}>
      {problem && (
        <ProblemCard problem={{ ...problem, wayOn: "none" }}>
          {takenName && (
            <Link
              className="button button-plain button-s"
              href={`/sign-in${location.search}`}
              onClick={() => handOverName(takenName)}
            >
              Sign in as {takenName}
            </Link>
          )}
        </ProblemCard>
      )}
      <TextField
        label="Name"
        name="username"
        autoComplete="username"
        defaultValue={knownName}
        hint="You sign in with it. An email address is fine, and not needed."
        required
        maxLength={254}
        autoCapitalize="none"
        autoCorrect="off"
        spellCheck={false}
        error={errors.username}
      />
      <PasswordField
        label="Password"
        name="password"
        autoComplete="new-password"
        hint="At least 8 characters. Long and simple beats short and strange."
        required
        error={errors.password}
      />
      <Button look="primary" type="submit" busy={busy} disabled={wait > 0}>
        {wait > 0 ? `You can try again in ${waitWords(wait)}` : "Make an account"}
      </Button>
      <p className="auth-switch">
        Been here before? <Link href={`/sign-in${location.search}`}>Sign in</Link>
      </p>
    </AuthFrame>
  );
}

/** `crypto.randomUUID` is absent on a plain-HTTP origin other than localhost. */
function uuid(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = ((bytes[6] ?? 0) & 0x0f) | 0x40;
  bytes[8] = ((bytes[8] ?? 0) & 0x3f) | 0x80;
  const hex = [...bytes].map((each) => each.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}
