import { useEffect, useRef } from "react";
import { Link, Redirect, useLocation } from "wouter";

import { keepAccount, useAccount } from "@/auth/session";
import { users } from "@/rpc/clients";
import { useCall } from "@/rpc/use-call";
import { classes } from "@/ui/classes";
import { PageHeading } from "@/ui/PageHeading";
import { ProblemCard } from "@/ui/ProblemCard";
import { Skeleton } from "@/ui/Skeleton";

import { AboutYou } from "./AboutYou";
import { DataSection } from "./DataSection";
import { LookSection } from "./LookSection";
import { SafetySection } from "./SafetySection";
import "./settings-page.css";
import { TalkingSection } from "./TalkingSection";
import { VoiceSection } from "./VoiceSection";

const SECTIONS = [
  ["", "You"],
  ["talking", "Talking"],
  ["voice", "Voice and sound"],
  ["look", "Look"],
  ["safety", "Sign-in"],
  ["data", "Your data"],
] as const;

type Section = (typeof SECTIONS)[number][0];

/** The account and its wishes, a short page for each sort. */
export default function SettingsPage() {
  const [path] = useLocation();
  const name = path.replace(/^\/settings\/?/, "");
  const nav = useRef<HTMLElement>(null);
  useEffect(() => {
    // On a narrow window the row scrolls: where one is must be in sight, also after a turn of it.
    const show = () => {
      const row = nav.current;
      const here = row?.querySelector<HTMLElement>("[aria-current]");
      if (row && here) row.scrollLeft = here.offsetLeft - (row.clientWidth - here.offsetWidth) / 2;
    };
    show();
    addEventListener("resize", show);
    return () => removeEventListener("resize", show);
  }, [name]);
  const section = SECTIONS.find(([each]) => each === name);
  if (!section) return <Redirect to="/settings" replace />;
  return (
    <div className="page settings">
      <PageHeading key={name} title={`${section[1]} · Settings`}>
        Settings
      </PageHeading>
      <div className="settings-columns">
        <nav ref={nav} aria-label="Settings" className="settings-nav">
          {SECTIONS.map(([each, words]) => (
            <Link
              key={each}
              href={each ? `/settings/${each}` : "/settings"}
              className={classes("settings-link")}
              aria-current={each === name ? "page" : undefined}
            >
              {words}
            </Link>
          ))}
        </nav>
        <div className="settings-section">
          <Chosen section={section[0]} />
        </div>
      </div>
    </div>
  );
}

function Chosen({ section }: { readonly section: Section }) {
  switch (section) {
    case "look":
      return <LookSection />;
    case "safety":
      return <SafetySection />;
    case "data":
      return <DataSection />;
    default:
      return <OfAccount section={section} />;
  }
}

/** The sections that show what the server keeps of the account. */
function OfAccount({ section }: { readonly section: "" | "talking" | "voice" }) {
  const account = useAccount();
  // Read anew, whatever is known: another device may have changed it.
  const call = useCall(
    "account",
    async (signal) => (await users.getProfile({}, { signal })).account,
  );
  useEffect(() => {
    if (call.value) keepAccount(call.value);
  }, [call.value]);
  if (!account) {
    if (call.problem) return <ProblemCard problem={call.problem} onWayOn={call.again} />;
    return (
      <div role="status">
        <span className="unseen">Reading your settings…</span>
        <Skeleton widths={["30%", "100%", "30%", "100%", "40%", "100%"]} />
      </div>
    );
  }
  // The form begins anew when the account that it shows is another, not while it is typed in.
  if (section === "talking") return <TalkingSection account={account} />;
  if (section === "voice") return <VoiceSection account={account} />;
  return <AboutYou key={account.userId} account={account} />;
}
