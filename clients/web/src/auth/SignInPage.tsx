import { type FormEvent, useState } from "react";
import { Link } from "wouter";

import { type Problem, problemFromError } from "@/rpc/problem";
import { Button } from "@/ui/Button";
import { TextField } from "@/ui/Field";
import { Logo } from "@/ui/Logo";
import { ProblemCard } from "@/ui/ProblemCard";

import "./auth.css";
import { signIn } from "./session";

/** Signing in. */
export default function SignInPage() {
  const [problem, setProblem] = useState<Problem | null>(null);
  const [busy, setBusy] = useState(false);
  const submit = async (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    setBusy(true);
    setProblem(null);
    try {
      await signIn(String(form.get("username")), String(form.get("password")));
    } catch (error) {
      setProblem(problemFromError(error));
      setBusy(false);
    }
  };
  return (
    <main className="auth">
      <form onSubmit={(event) => void submit(event)}>
        <Logo size={44} />
        <h1>Welcome back</h1>
        {problem && <ProblemCard problem={problem} />}
        <TextField
          label="Name"
          name="username"
          autoComplete="username"
          required
          autoCapitalize="none"
        />
        <TextField
          label="Password"
          name="password"
          type="password"
          autoComplete="current-password"
          required
        />
        <Button look="primary" type="submit" busy={busy}>
          Sign in
        </Button>
        <p>
          New here? <Link href={`/sign-up${location.search}`}>Make an account</Link>
        </p>
      </form>
    </main>
  );
}
