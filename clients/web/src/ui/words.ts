/** Times and lengths as people say them. Pure; English, as the page is. */

const DAY_MS = 86_400_000;

/** The day of a list: "Today", "Yesterday", "Monday", "Monday 12 October", with its year if another. */
export function dayWords(date: Date, now: Date): string {
  const days = Math.round((startOfDay(now) - startOfDay(date)) / DAY_MS);
  if (days === 0) return "Today";
  if (days === 1) return "Yesterday";
  if (days > 1 && days < 7)
    return new Intl.DateTimeFormat("en-GB", { weekday: "long" }).format(date);
  return new Intl.DateTimeFormat("en-GB", {
    weekday: "long",
    day: "numeric",
    month: "long",
    ...(date.getFullYear() !== now.getFullYear() && { year: "numeric" }),
  }).format(date);
}

/** The time of day: "14:05". */
export function timeWords(date: Date): string {
  return new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" }).format(date);
}

/** How long something took: "40 s", "12 min", "1 h 5 min". */
export function lengthWords(ms: number): string {
  const seconds = Math.round(ms / 1000);
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 60) return `${minutes} min`;
  const rest = minutes % 60;
  return rest === 0 ? `${Math.floor(minutes / 60)} h` : `${Math.floor(minutes / 60)} h ${rest} min`;
}

/** A silence before an answer: "1.2 s", "240 ms"; empty where there was none to speak of. */
export function silenceWords(ms: number): string {
  // What was typed and answered by text has a silence of nothing.
  if (ms < 20) return "";
  return ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`;
}

/** A place in a recording: "0:05", "12:40", "1:02:03". */
export function clockWords(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  const two = (value: number) => String(value).padStart(2, "0");
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes}:${two(seconds % 60)}`;
  return `${Math.floor(minutes / 60)}:${two(minutes % 60)}:${two(seconds % 60)}`;
}

/** The same for ears: "2 minutes 5 seconds". */
export function spokenLength(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  const minutes = Math.floor(seconds / 60);
  const parts = [];
  if (minutes > 0) parts.push(count(minutes, "minute"));
  if (seconds % 60 > 0 || minutes === 0) parts.push(count(seconds % 60, "second"));
  return parts.join(" ");
}

/** A number with its noun: "1 turn", "3 turns". */
export function count(number: number, one: string, many = `${one}s`): string {
  return `${number} ${number === 1 ? one : many}`;
}

function startOfDay(date: Date): number {
  // In UTC's terms, so that a day in which the clock changes still is one day.
  return Date.UTC(date.getFullYear(), date.getMonth(), date.getDate());
}
