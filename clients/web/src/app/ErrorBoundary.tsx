import { Component, type ErrorInfo, type ReactNode } from "react";

import { ProblemCard } from "@/ui/ProblemCard";

import "./error-boundary.css";

interface State {
  readonly error: Error | null;
}

/** The last net: a bug in drawing shows words and a way on instead of an empty page. */
export class ErrorBoundary extends Component<{ readonly children: ReactNode }, State> {
  override state: State = { error: null };

  static getDerivedStateFromError(error: Error): State {
    return { error };
  }

  override componentDidCatch(error: Error, info: ErrorInfo): void {
    console.error(error, info.componentStack);
  }

  override render(): ReactNode {
    const { error } = this.state;
    if (!error) return this.props.children;
    // A page of an older build asks for files that a newer one has replaced.
    const outdated = /dynamically imported module|module script/i.test(error.message);
    return (
      <main className="broken">
        <ProblemCard
          problem={{
            title: outdated ? "Parley has been renewed." : "This page broke.",
            advice: outdated
              ? "Reload to get the new version."
              : "Reload it. What you said is saved. If it happens again, tell us the details below.",
            wayOn: "reload",
            retryAfterMs: 0,
            fields: {},
            detail: `${error.name}: ${error.message}`,
          }}
          onWayOn={() => location.reload()}
        />
      </main>
    );
  }
}
