import { type ReactNode, useEffect, useRef } from "react";

import "./page-heading.css";

// Where the document was loaded. Whoever stands elsewhere has come by a link of ours.
const loadedAt = loadedPath();
let travelled = false;
// A talk that begins or ends is another page at the same address.
let shown = false;
for (const name of ["pushState", "replaceState", "popstate"]) {
  addEventListener(name, () => {
    travelled = true;
  });
}

/**
 * The heading of a page, and its name in the browser's tab.
 *
 * After a change of page the focus goes to it: a screen reader says where one has arrived, and the
 * next Tab is the page's first. A page that was just loaded leaves the focus where browsers put it.
 */
export function PageHeading({
  title,
  children,
}: {
  /** What the tab says; the heading's own words unless `children` has others. */
  readonly title: string;
  readonly children?: ReactNode;
}) {
  const ref = useRef<HTMLHeadingElement>(null);
  useEffect(() => {
    document.title = `${title} · Parley`;
    return () => {
      document.title = "Parley";
    };
  }, [title]);
  useEffect(() => {
    if (travelled || shown || location.pathname !== loadedAt)
      ref.current?.focus({ preventScroll: true });
    shown = true;
  }, []);
  return (
    <h1 ref={ref} tabIndex={-1} className="page-heading">
      {children ?? title}
    </h1>
  );
}

function loadedPath(): string {
  const [load] = performance.getEntriesByType("navigation");
  return load ? new URL(load.name, location.href).pathname : location.pathname;
}
