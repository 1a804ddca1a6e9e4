import { type SubmitEvent, useState } from "react";
import { Link } from "wouter";

import { problemFromError } from "@/rpc/problem";
import { Button } from "@/ui/Button";
import { useCountdown, waitWords } from "@/ui/countdown";
import { TextField } from "@/ui/Field";
import { formText } from "@/ui/form-text";
import { PasswordField } from "@/ui/PasswordField";
import { ProblemCard } from "@/ui/ProblemCard";

import { AuthFrame } from "./AuthFrame";
import { type FieldErrors, focusFirstWrong, serverErrors, signInErrors } from "./form";
import { handedOverName } from "./handed-over";
import { signIn, whySignedOut } from "./session";

/** Signing in. */
export default function SignInPage() {
  const [problem, setProblem] = useState(whySignedOut);
  const [errors, setErrors] = useState<FieldErrors>({});
  const [busy, setBusy] = useState(false);
  const [wait, beginWait] = useCountdown();
  const [knownName] = useState(handedOverName);
  const submit = async (event: SubmitEvent<HTMLFormElement>) => {
    event.preventDefault();
    if (busy || wait > 0) return;
    const form = event.currentTarget;
    const username = formText(form, "username").trim();
    const password = formText(form, "password");
    const wrong = signInErrors(username, password);
    setErrors(wrong);
    setProblem(null);
    if (Object.keys(wrong).length > 0) {
      focusFirstWrong(form, wrong);
      return;
    }
    setBusy(true);
    try {
      await signIn(username, password);
    } catch (error) {
      const found = problemFromError(error);
      const named = serverErrors(found.fields);
      setProblem(found);
      setErrors(named);
      beginWait(found.retryAfterMs);
      setBusy(false);
      // A wrong password is the likelier slip: ready to be typed again.
      focusFirstWrong(form, Object.keys(named).length > 0 ? named : { password: "again" });
    }
  };
  return (
    <AuthFrame title="Welcome back" onSubmit={(event) => void submit(event)}>
      {problem && <ProblemCard problem={{ ...problem, wayOn: "none" }} />}
      <TextField
        label="Name"
        name="username"
        autoComplete="username"
        defaultValue={knownName}
        required
        autoCapitalize="none"
        autoCorrect="off"
        spellCheck={false}
        error={errors.username}
      />
      <PasswordField
        label="Password"
        name="password"
        autoComplete="current-password"
        required
        error={errors.password}
      />
      <Button look="primary" type="submit" busy={busy} disabled={wait > 0}>
        {wait > 0 ? `You can try again in ${waitWords(wait)}` : "Sign in"}
      </Button>
      <p className="auth-switch">
        New here? <Link href={`/sign-up${location.search}`}>Make an account</Link>
      </p>
    </AuthFrame>
  );
}
