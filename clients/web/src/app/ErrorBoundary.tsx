import { Component, type ErrorInfo, type ReactNode } from "react";

import { ProblemCard } from "@/ui/ProblemCard";

import "./error-boundary.css";

interface State {
  readonly error: Error | null;
}

/** A net: what cannot be drawn shows words and a way on instead of an empty page. */
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
    // There is no server, or a newer build has replaced the files that this one asks for.
    const missing = /dynamically imported module|module script|preload CSS/i.test(error.message);
    return (
      <div className="broken">
        <ProblemCard
          problem={{
            title: missing ? "This page could not be loaded." : "This page broke.",
            advice: missing
              ? "Check your connection, then reload. Parley may also have been renewed."
              : "Reload it. What you said is saved. If it happens again, tell us the details below.",
            wayOn: "reload",
            retryAfterMs: 0,
            fields: {},
            detail: `${error.name}: ${error.message}`,
          }}
          onWayOn={() => location.reload()}
        />
      </div>
    );
  }
}
