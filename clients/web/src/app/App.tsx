import { Suspense, lazy, useEffect, useState } from "react";
import { Redirect, Route, Switch, useLocation } from "wouter";

import { restoreSignIn, useAccessState } from "@/auth/session";
import { TalkPage } from "@/talk/TalkPage";

import { ErrorBoundary } from "./ErrorBoundary";
import { Shell } from "./Shell";
import { followSystemTheme } from "./theme";
import { Toasts } from "./Toasts";
import { Waiting } from "./Waiting";

const LATER = {
  history: () => import("@/history/HistoryPage"),
  conversation: () => import("@/history/ConversationPage"),
  progress: () => import("@/progress/ProgressPage"),
  settings: () => import("@/settings/SettingsPage"),
};

const SignInPage = lazy(() => import("@/auth/SignInPage"));
const SignUpPage = lazy(() => import("@/auth/SignUpPage"));
const HistoryPage = lazy(LATER.history);
const ConversationPage = lazy(LATER.conversation);
const ProgressPage = lazy(LATER.progress);
const SettingsPage = lazy(LATER.settings);

// When the page that was asked for stands and is quiet.
const LATER_MS = 3_000;

/** The whole page. */
export function App() {
  useEffect(() => {
    followSystemTheme();
    void restoreSignIn();
  }, []);
  return (
    <ErrorBoundary>
      <Suspense fallback={<Waiting />}>
        <Pages />
      </Suspense>
      <Toasts />
    </ErrorBoundary>
  );
}

function Pages() {
  const state = useAccessState();
  // Until it is known who is here nothing is drawn that could flicker away again.
  if (state === "unknown") return <Waiting />;
  if (state === "signed-out") return <SignedOut />;
  return (
    <Shell>
      <SignedIn />
    </Shell>
  );
}

function SignedIn() {
  const [path] = useLocation();
  useEffect(() => {
    // Then a server that is away keeps nobody from a page; what cannot be had now is asked for then.
    const timer = setTimeout(() => {
      for (const load of Object.values(LATER)) load().catch(() => undefined);
    }, LATER_MS);
    return () => clearTimeout(timer);
  }, []);
  return (
    // A page that breaks leaves the way to the others.
    <ErrorBoundary key={path.split("/")[1]}>
      <Suspense fallback={<Waiting />}>
        <Switch>
          <Route path="/" component={TalkPage} />
          <Route path="/history" component={HistoryPage} />
          <Route path="/history/:id">{({ id }) => <ConversationPage id={id} />}</Route>
          <Route path="/progress" component={ProgressPage} />
          <Route path="/settings/*?" component={SettingsPage} />
          <Route>
            <BackFromSignIn />
          </Route>
        </Switch>
      </Suspense>
    </ErrorBoundary>
  );
}

function SignedOut() {
  return (
    <Switch>
      <Route path="/sign-up" component={SignUpPage} />
      <Route path="/sign-in" component={SignInPage} />
      <Route>
        <ToSignIn />
      </Route>
    </Switch>
  );
}

/** Remembers where somebody wanted to go, to lead there after the sign-in. */
function ToSignIn() {
  const [wanted] = useState(() => location.pathname);
  const there = wanted === "/" ? "" : `?to=${encodeURIComponent(wanted)}`;
  return <Redirect to={`/sign-in${there}`} replace />;
}

function BackFromSignIn() {
  const wanted = new URLSearchParams(location.search).get("to") ?? "/";
  // Only to a page of our own: "//elsewhere" would be another site's.
  const safe = /^\/(?!\/)[\w/-]*$/.test(wanted) && !wanted.startsWith("/sign-") ? wanted : "/";
  return <Redirect to={safe} replace />;
}
