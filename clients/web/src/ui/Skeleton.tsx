import "./skeleton.css";

/**
 * Where lines of text will be. Decoration, and late: what comes quickly never flashes it.
 *
 * Whoever shows it says in words, in a live region, that something is being read.
 */
export function Skeleton({ widths }: { readonly widths: readonly string[] }) {
  return (
    <span className="skeleton" aria-hidden>
      {widths.map((width, i) => (
        <span key={i} style={{ inlineSize: width }} />
      ))}
    </span>
  );
}
