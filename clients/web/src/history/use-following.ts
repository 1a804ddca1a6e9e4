import {
  type RefObject,
  useCallback,
  useEffect,
  useRef,
  useState,
  useSyncExternalStore,
} from "react";

import type { Player } from "./player";
import { type Line, type Place, placeAt, samePlace } from "./lines";

/**
 * Follows the playing through the text: which word is being said, and scrolling along with it.
 *
 * Whoever scrolls by hand meanwhile wants to look elsewhere: the page follows again when asked to.
 */
export function useFollowing(
  player: Player,
  lines: readonly Line[],
  list: RefObject<HTMLElement | null>,
): {
  readonly place: Place | null;
  readonly follows: boolean;
  readonly follow: () => void;
} {
  const { playing } = useSyncExternalStore(player.subscribe, player.state);
  const [place, setPlace] = useState<Place | null>(null);
  const [follows, setFollows] = useState(true);
  const shown = useRef<Place | null>(null);
  useEffect(() => {
    if (!playing) return;
    let frame = 0;
    const look = () => {
      const now = placeAt(lines, player.positionMs);
      if (!samePlace(now, shown.current)) {
        shown.current = now;
        setPlace(now);
      }
      frame = requestAnimationFrame(look);
    };
    look();
    return () => cancelAnimationFrame(frame);
  }, [playing, lines, player]);
  useEffect(() => {
    if (!playing) return;
    const byHand = () => setFollows(false);
    const byKey = (event: KeyboardEvent) => {
      const scrolls = ["PageUp", "PageDown", "Home", "End", "ArrowUp", "ArrowDown"];
      if (scrolls.includes(event.key) && event.target === document.body) byHand();
    };
    addEventListener("wheel", byHand, { passive: true });
    addEventListener("touchmove", byHand, { passive: true });
    addEventListener("keydown", byKey);
    return () => {
      removeEventListener("wheel", byHand);
      removeEventListener("touchmove", byHand);
      removeEventListener("keydown", byKey);
    };
  }, [playing]);
  const key = place?.line.key;
  useEffect(() => {
    if (!playing || !follows || !key) return;
    const line = list.current?.querySelector(`[data-line="${key}"]`);
    const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    line?.scrollIntoView({ block: "center", behavior: calm ? "instant" : "smooth" });
  }, [key, follows, playing, list]);
  const follow = useCallback(() => setFollows(true), []);
  return { place, follows, follow };
}
