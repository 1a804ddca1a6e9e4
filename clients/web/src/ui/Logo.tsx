/** Two who talk: the tutor's bubble and the learner's, one over the other. */
export function Logo({ size = 32 }: { readonly size?: number }) {
  return (
    <svg viewBox="0 0 64 64" width={size} height={size} aria-hidden focusable="false">
      <path
        d="M6 25A17 17 0 0 1 23 8h10a17 17 0 0 1 0 34h-7L13 52.5V38.8A17 17 0 0 1 6 25Z"
        fill="var(--tutor)"
      />
      <path
        d="M44.5 19.2A17 17 0 0 1 58 36c0 5.6-2.7 10.5-6.9 13.6V59.5L40.5 52h-5.5a17 17 0 0 1-9.8-3.1L29 46h4.5A21 21 0 0 0 54 25c0-.6 0-1.2-.1-1.8Z"
        fill="var(--learner)"
      />
    </svg>
  );
}
