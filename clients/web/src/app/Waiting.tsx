import { Logo } from "@/ui/Logo";

import "./waiting.css";

/** Between two pages. It appears only after a moment, so that quick ones do not flash. */
export function Waiting() {
  return (
    <div className="waiting" role="status">
      <Logo size={48} />
      <span className="unseen">One moment…</span>
    </div>
  );
}
