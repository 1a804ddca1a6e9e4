/** Our own icons: 24 by 24, one line of 1.75, drawn with the text's colour. */

const PATHS = {
  mic: "M12 3a3 3 0 0 1 3 3v5a3 3 0 0 1-6 0V6a3 3 0 0 1 3-3ZM6 11a6 6 0 0 0 12 0M12 17v4M9 21h6",
  "mic-off":
    "M9 9v2a3 3 0 0 0 4.6 2.5M15 10V6a3 3 0 0 0-5.8-1M6 11a6 6 0 0 0 9.3 5M18 11a6 6 0 0 1-.5 2.4M12 17v4M9 21h6M4 4l16 16",
  stop: "M7.5 6h9A1.5 1.5 0 0 1 18 7.5v9a1.5 1.5 0 0 1-1.5 1.5h-9A1.5 1.5 0 0 1 6 16.5v-9A1.5 1.5 0 0 1 7.5 6Z",
  play: "M8 5.5v13l10.5-6.5Z",
  pause: "M8.5 5.5v13M15.5 5.5v13",
  keyboard:
    "M4 6h16a1.5 1.5 0 0 1 1.5 1.5v9A1.5 1.5 0 0 1 20 18H4a1.5 1.5 0 0 1-1.5-1.5v-9A1.5 1.5 0 0 1 4 6ZM6.5 10h.01M10.2 10h.01M13.8 10h.01M17.5 10h.01M8 14.5h8",
  captions:
    "M5 5h14a2 2 0 0 1 2 2v10a2 2 0 0 1-2 2H5a2 2 0 0 1-2-2V7a2 2 0 0 1 2-2ZM7 11h4M7 15h7M14 11h3",
  repeat:
    "M4 12a8 8 0 0 1 13.7-5.6L20 8.5M20 4v4.5h-4.5M20 12a8 8 0 0 1-13.7 5.6L4 15.5M4 20v-4.5h4.5",
  turtle:
    "M4 15a7 6.5 0 0 1 14 0ZM18 13.5c1-.2 1.5-1.5 2.5-1.5a1.5 1.5 0 0 1 0 3H4M7 15v3M15 15v3M11 8.5V15M7.5 11.5 11 13l3.5-1.5",
  "hang-up":
    "M12 9c3.5 0 6.5 1 8.5 3 .7.7.7 2-.1 2.7l-1 .9c-.6.5-1.5.5-2.1 0l-1.7-1.3a1.5 1.5 0 0 1-.5-1.6l.2-.7a12 12 0 0 0-6.6 0l.2.7a1.5 1.5 0 0 1-.5 1.6l-1.7 1.3c-.6.5-1.5.5-2.1 0l-1-.9c-.8-.7-.8-2-.1-2.7C5.5 10 8.5 9 12 9Z",
  chart: "M4 20V10M10 20V4M16 20v-7M21 20H3",
  history: "M4 12a8 8 0 1 0 2.7-6L4 8.3M4 4v4.3h4.3M12 8v4.5l3 1.8",
  rewind: "M11 6.5 5.5 12l5.5 5.5M18.5 6.5 13 12l5.5 5.5",
  settings: "M4 7h9M17 7h3M4 17h3M11 17h9M13 4.5v5M7 14.5v5",
  chat: "M5 5h14a2 2 0 0 1 2 2v8a2 2 0 0 1-2 2h-6l-4.5 3.5V17H5a2 2 0 0 1-2-2V7a2 2 0 0 1 2-2Z",
  send: "M4.5 12 3.5 4.5 21 12 3.5 19.5ZM4.5 12H12",
  close: "M6 6l12 12M18 6 6 18",
  check: "M5 12.5 10 17.5 19.5 7",
  info: "M12 21a9 9 0 1 1 0-18 9 9 0 0 1 0 18ZM12 11v5M12 7.8h.01",
  warning: "M12 4 2.8 19.5h18.4ZM12 10v4.5M12 17.2h.01",
  sun: "M12 16a4 4 0 1 0 0-8 4 4 0 0 0 0 8ZM12 2.5v2M12 19.5v2M2.5 12h2M19.5 12h2M5.3 5.3l1.4 1.4M17.3 17.3l1.4 1.4M5.3 18.7l1.4-1.4M17.3 6.7l1.4-1.4",
  moon: "M19.5 14.5A8 8 0 0 1 9.5 4.5a8 8 0 1 0 10 10Z",
  auto: "M12 21a9 9 0 1 1 0-18 9 9 0 0 1 0 18ZM12 3v18M12 7.5l5.8 0M12 12h9M12 16.5l5.8 0",
  chevron: "M8 10l4 4 4-4",
  "arrow-right": "M5 12h14M13 6l6 6-6 6",
  "arrow-left": "M19 12H5M11 6l-6 6 6 6",
  search: "M11 18a7 7 0 1 1 0-14 7 7 0 0 1 0 14ZM20.5 20.5 16 16",
  download: "M12 4v11M7.5 11 12 15.5 16.5 11M4.5 19.5h15",
  trash: "M4.5 7h15M9.5 7V4.5h5V7M6.5 7l.8 12.5h9.4L17.5 7M10 11v5M14 11v5",
  user: "M12 12a4 4 0 1 0 0-8 4 4 0 0 0 0 8ZM4.5 20.5a7.5 7.5 0 0 1 15 0",
  signal: "M4 17v3M9.3 13v7M14.6 9v11M20 4v16",
  bulb: "M9.5 18h5M10.5 21h3M12 3a6 6 0 0 1 3.7 10.7c-.7.6-1.2 1.4-1.2 2.3h-5c0-.9-.5-1.7-1.2-2.3A6 6 0 0 1 12 3Z",
  flag: "M6 21V4M6 5c4-2.5 7 2.5 12 0v9c-5 2.5-8-2.5-12 0",
  clock: "M12 21a9 9 0 1 1 0-18 9 9 0 0 1 0 18ZM12 7v5.3l3.5 2",
  more: "M5.5 12h.01M12 12h.01M18.5 12h.01",
} as const;

/** The names of all icons. */
export type IconName = keyof typeof PATHS;

/** An icon. Without a label it is decoration: whatever stands beside it has the words. */
export function Icon({
  name,
  size = 20,
  label,
}: {
  readonly name: IconName;
  readonly size?: number;
  readonly label?: string;
}) {
  return (
    <svg
      className="icon"
      viewBox="0 0 24 24"
      width={size}
      height={size}
      fill="none"
      stroke="currentColor"
      strokeWidth={1.75}
      strokeLinecap="round"
      strokeLinejoin="round"
      focusable="false"
      {...(label ? { role: "img", "aria-label": label } : { "aria-hidden": true })}
    >
      <path
        d={PATHS[name]}
        fill={name === "stop" || name === "play" ? "currentColor" : undefined}
      />
    </svg>
  );
}
