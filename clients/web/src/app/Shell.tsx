import { type ReactNode, useEffect } from "react";
import { Link, useLocation } from "wouter";

import { loadAccount } from "@/auth/session";
import { Icon, type IconName } from "@/ui/Icon";
import { useTalk } from "@/talk/use-talk";
import { Logo } from "@/ui/Logo";

import "./shell.css";
import { ThemeSwitch } from "./ThemeSwitch";

const PLACES: readonly (readonly [path: string, words: string, icon: IconName])[] = [
  ["/", "Talk", "chat"],
  ["/history", "History", "history"],
  ["/progress", "Progress", "chart"],
  ["/settings", "Settings", "settings"],
];

/** What stands around every page of somebody signed in: at the top, or at a phone's foot. */
export function Shell({ children }: { readonly children: ReactNode }) {
  const [path] = useLocation();
  const talking = useTalk((state) => state.phase === "live");
  useEffect(() => {
    const controller = new AbortController();
    // Greeting by name is nice to have; every page says for itself what it cannot read.
    loadAccount(controller.signal).catch(() => undefined);
    return () => controller.abort();
  }, []);
  return (
    <div className="shell">
      <a className="skip" href="#main">
        Skip to the page
      </a>
      <header className="topbar">
        <Link href="/" className="brand">
          <Logo />
          <span>Parley</span>
        </Link>
        <nav aria-label="Pages">
          {PLACES.map(([href, words, icon]) => {
            const here = href === "/" ? path === "/" : path.startsWith(href);
            return (
              <Link key={href} href={href} aria-current={here ? "page" : undefined}>
                <Icon name={icon} />
                <span>{words}</span>
                {href === "/" && !here && talking && (
                  <>
                    <span className="live-dot" />
                    <span className="unseen">A talk is going on.</span>
                  </>
                )}
              </Link>
            );
          })}
        </nav>
        <ThemeSwitch />
      </header>
      <main id="main" tabIndex={-1}>
        {children}
      </main>
    </div>
  );
}
