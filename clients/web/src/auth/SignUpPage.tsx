import { type FormEvent, useState } from "react";
import { Link } from "wouter";

import { type Problem, problemFromError } from "@/rpc/problem";
import { Button } from "@/ui/Button";
import { TextField } from "@/ui/Field";
import { Logo } from "@/ui/Logo";
import { ProblemCard } from "@/ui/ProblemCard";

import "./auth.css";
import { signUp } from "./session";

/** Making an account. */
export default function SignUpPage() {
  const [problem, setProblem] = useState<Problem | null>(null);
  const [busy, setBusy] = useState(false);
  const submit = async (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    const username = String(form.get("username"));
    setBusy(true);
    setProblem(null);
    try {
      await signUp(username, String(form.get("password")), username, uuid());
    } catch (error) {
      setProblem(problemFromError(error));
      setBusy(false);
    }
  };
  return (
    <main className="auth">
      <form onSubmit={(event) => void submit(event)}>
        <Logo size={44} />
        <h1>Begin talking</h1>
        {problem && <ProblemCard problem={problem} />}
        <TextField
          label="Name"
          name="username"
          autoComplete="username"
          required
          minLength={3}
          autoCapitalize="none"
        />
        <TextField
          label="Password"
          name="password"
          type="password"
          autoComplete="new-password"
          hint="At least 8 characters."
          minLength={8}
          required
        />
        <Button look="primary" type="submit" busy={busy}>
          Make an account
        </Button>
        <p>
          Been here before? <Link href={`/sign-in${location.search}`}>Sign in</Link>
        </p>
      </form>
    </main>
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
