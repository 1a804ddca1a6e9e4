/** Time zones to choose from. */

/** Every zone that the browser knows, and `kept` even where it does not. */
export function timeZones(kept: string): readonly string[] {
  const known = new Set(["UTC", ...Intl.supportedValuesOf("timeZone")]);
  const here = ownTimeZone();
  if (here) known.add(here);
  if (kept) known.add(kept);
  return [...known].sort((a, b) => a.localeCompare(b, "en"));
}

/** The zone of this device. */
export function ownTimeZone(): string {
  return Intl.DateTimeFormat().resolvedOptions().timeZone;
}

/** A zone as people read it: "Europe/Madrid" becomes "Madrid (Europe)". */
export function zoneWords(zone: string): string {
  const parts = zone.replaceAll("_", " ").split("/");
  const city = parts.at(-1) ?? zone;
  return parts.length > 1 ? `${city} (${parts.slice(0, -1).join(", ")})` : city;
}
