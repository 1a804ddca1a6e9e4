import { Suspense, lazy, useEffect, useState } from "react";
import { Redirect, Route, Switch } from "wouter";

import { restoreSignIn, useAccessState } from "@/auth/session";
import { TalkPage } from "@/talk/TalkPage";

import { ErrorBoundary } from "./ErrorBoundary";
import { Shell } from "./Shell";
import { followSystemTheme } from "./theme";
import { Toasts } from "./Toasts";
import { Waiting } from "./Waiting";

const SignInPage = lazy(() => import("@/auth/SignInPage"));
const SignUpPage = lazy(() => import("@/auth/SignUpPage"));
const HistoryPage = lazy(() => import("@/history/HistoryPage"));
const ConversationPage = lazy(() => import("@/history/ConversationPage"));
const SettingsPage = lazy(() => import("@/settings/SettingsPage"));

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
      <Suspense fallback={<Waiting />}>
        <Switch>
          <Route path="/" component={TalkPage} />
          <Route path="/history" component={HistoryPage} />
          <Route path="/history/:id">{({ id }) => <ConversationPage id={id} />}</Route>
          <Route path="/settings/*?" component={SettingsPage} />
          <Route>
            <BackFromSignIn />
          </Route>
        </Switch>
      </Suspense>
    </Shell>
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
