import "./spinner.css";

/** Something is under way. Decoration: whoever shows it says it in words as well. */
export function Spinner({ size = 18 }: { readonly size?: number }) {
  return (
    <svg className="spinner" viewBox="0 0 24 24" width={size} height={size} aria-hidden>
      <circle cx="12" cy="12" r="9" fill="none" stroke="currentColor" strokeWidth="2.5" />
    </svg>
  );
}
