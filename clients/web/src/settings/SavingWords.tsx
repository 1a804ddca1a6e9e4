import { ProblemCard } from "@/ui/ProblemCard";

import type { Saving } from "./use-saving";

/** That something was saved, or why not; in a place where screen readers hear it. */
export function SavingWords({ saving }: { readonly saving: Saving }) {
  return (
    <>
      <span role="status" className="part-saved">
        {saving.busy ? "Saving…" : saving.saved ? "Saved" : ""}
      </span>
      {saving.problem && <ProblemCard problem={{ ...saving.problem, wayOn: "none" }} />}
    </>
  );
}
