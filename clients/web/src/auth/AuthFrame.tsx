import type { ReactNode, SubmitEvent } from "react";

import { Icon } from "@/ui/Icon";
import { Logo } from "@/ui/Logo";
import { PageHeading } from "@/ui/PageHeading";

import "./auth.css";

/** What stands around both forms: the form, and beside it, where there is room, what Parley is. */
export function AuthFrame({
  title,
  onSubmit,
  children,
}: {
  readonly title: string;
  readonly onSubmit: (event: SubmitEvent<HTMLFormElement>) => void;
  readonly children: ReactNode;
}) {
  return (
    <div className="auth">
      <main className="auth-side">
        {/* The form says itself what is missing, in Parley's words and where a screen reader hears
            it; the browser's bubbles vanish after a moment. */}
        <form onSubmit={onSubmit} noValidate aria-label={title}>
          <p className="auth-brand">
            <Logo size={40} />
            Parley
          </p>
          <PageHeading title={title} />
          {children}
        </form>
      </main>
      <Example />
    </div>
  );
}

/** Half a minute of a talk: what happens here, shown instead of told. */
function Example() {
  return (
    <aside className="auth-example" aria-label="What a talk looks like">
      <p className="auth-promise">Speak English. Take your time. Be heard.</p>
      <ol className="auth-talk">
        <li className="auth-tutor">
          <span>Tutor</span>
          <p>Good evening! Do you have a table with us tonight?</p>
        </li>
        <li className="auth-learner">
          <span>You</span>
          <p>
            Yes, I <mark>have booked yesterday</mark>, for two.
          </p>
        </li>
        <li className="auth-note">
          <del>have booked</del>
          <Icon name="arrow-right" size={14} />
          <ins>booked</ins>
          <p>“Yesterday” is over, so: I booked.</p>
        </li>
        <li className="auth-tutor">
          <span>Tutor</span>
          <p>Lovely. By the window, or somewhere quiet?</p>
        </li>
      </ol>
    </aside>
  );
}
