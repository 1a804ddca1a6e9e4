import { useEffect, useRef } from "react";

import { Button } from "@/ui/Button";
import { ProblemCard } from "@/ui/ProblemCard";

import "./more-of-list.css";
import type { Pages } from "./use-pages";

// Read on before the end is in sight, so that scrolling never waits.
const AHEAD = "600px";

/** The end of a list that goes on: it reads on by itself when it comes near, or when pressed. */
export function MoreOfList<T>({
  list,
  words,
}: {
  readonly list: Pages<T>;
  readonly words: string;
}) {
  const end = useRef<HTMLDivElement>(null);
  const { more, nextToken, pending, problem, items } = list;
  const waits = nextToken !== "" && !pending && !problem;
  useEffect(() => {
    if (!waits || !end.current || !("IntersectionObserver" in globalThis)) return;
    const observer = new IntersectionObserver(
      (seen) => {
        if (seen.some((each) => each.isIntersecting)) more();
      },
      { rootMargin: AHEAD },
    );
    observer.observe(end.current);
    return () => observer.disconnect();
  }, [waits, more, items.length]);
  if (!nextToken && !problem) return null;
  return (
    <div ref={end} className="more-of-list">
      {problem ? (
        <ProblemCard problem={problem} onWayOn={more} />
      ) : (
        <Button look="plain" busy={pending} onClick={more}>
          {words}
        </Button>
      )}
    </div>
  );
}
