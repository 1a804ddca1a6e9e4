import { toast } from "@/app/toasts";
import { signOut, signOutEverywhere } from "@/auth/session";
import { problemFromError, type Problem } from "@/rpc/problem";
import { Button } from "@/ui/Button";
import { ProblemCard } from "@/ui/ProblemCard";
import { useState } from "react";

import { Part } from "./Part";
import { PasswordPart } from "./PasswordPart";
import { SessionsPart } from "./SessionsPart";

/** Where somebody is signed in, the password, and signing out. */
export function SafetySection() {
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<Problem | null>(null);
  const here = () =>
    signOut().catch(() => {
      toast("You are signed out here; the server could not be told yet.");
    });
  const everywhere = async () => {
    setBusy(true);
    setProblem(null);
    try {
      await signOutEverywhere();
    } catch (error) {
      setProblem(problemFromError(error));
      setBusy(false);
    }
  };
  return (
    <>
      <Part title="Sign out">
        {problem && <ProblemCard problem={{ ...problem, wayOn: "none" }} />}
        <div className="part-row">
          <Button onClick={() => void here()}>Sign out</Button>
          <Button look="danger" busy={busy} onClick={() => void everywhere()}>
            Sign out everywhere
          </Button>
        </div>
        <p className="field-hint">
          “Everywhere” ends the sign-in on every device, this one too. Talks that go on there end
          within seconds.
        </p>
      </Part>
      <SessionsPart />
      <PasswordPart />
    </>
  );
}
