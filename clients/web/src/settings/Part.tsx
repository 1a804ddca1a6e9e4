import { type ReactNode, useId } from "react";

import "./part.css";

/** A part of a settings page: its heading, what it is about, and what can be set. */
export function Part({
  title,
  about,
  children,
}: {
  readonly title: string;
  readonly about?: ReactNode;
  readonly children: ReactNode;
}) {
  const id = useId();
  return (
    <section className="part" aria-labelledby={id}>
      <div className="part-head">
        <h2 id={id}>{title}</h2>
        {about && <p>{about}</p>}
      </div>
      {children}
    </section>
  );
}
