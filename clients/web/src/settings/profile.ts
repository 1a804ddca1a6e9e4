/** The profile's form: what it holds, what is wrong with it, and what of it has changed. Pure. */

import { CefrLevel, type LearnerProfile } from "@parley/stubs/parley/types/v1/learner_pb";

/** What the form holds. */
export interface ProfileForm {
  readonly displayName: string;
  readonly firstLanguage: string;
  readonly level: CefrLevel;
  readonly interests: readonly string[];
  readonly goals: readonly string[];
  readonly timeZone: string;
}

/** The contract's bounds. */
export const BOUNDS = {
  name: 80,
  interests: 20,
  interest: 60,
  goals: 10,
  goal: 200,
} as const;

/** The levels, in words that a learner can find themselves in. */
export const LEVELS: readonly (readonly [CefrLevel, string, string])[] = [
  [CefrLevel.UNSPECIFIED, "I don’t know", "The tutor finds out while you talk."],
  [CefrLevel.A1, "A1 · Beginner", "I know some words and simple sentences."],
  [CefrLevel.A2, "A2 · Elementary", "I can talk about myself and everyday things."],
  [CefrLevel.B1, "B1 · Intermediate", "I can manage on a journey and tell a story."],
  [CefrLevel.B2, "B2 · Upper intermediate", "I can discuss most things without much searching."],
  [CefrLevel.C1, "C1 · Advanced", "I speak fluently and flexibly."],
  [CefrLevel.C2, "C2 · Proficient", "I speak with nearly the ease of a native speaker."],
];

/** The level of a choice's value. */
export function levelNamed(value: string): CefrLevel {
  return LEVELS.find(([level]) => String(level) === value)?.[0] ?? CefrLevel.UNSPECIFIED;
}

/** What the form begins with. */
export function formOf(profile: LearnerProfile | undefined): ProfileForm {
  return {
    displayName: profile?.displayName ?? "",
    firstLanguage: profile?.firstLanguage ?? "",
    level: profile?.level ?? CefrLevel.UNSPECIFIED,
    interests: profile?.interests ?? [],
    goals: profile?.goals ?? [],
    timeZone: profile?.timeZone ?? "",
  };
}

const PATHS: Readonly<Record<keyof ProfileForm, string>> = {
  displayName: "profile.display_name",
  firstLanguage: "profile.first_language",
  level: "profile.level",
  interests: "profile.interests",
  goals: "profile.goals",
  timeZone: "profile.time_zone",
};

/** The mask's paths of what differs: another device's changes to the rest are left alone. */
export function changedPaths(before: ProfileForm, after: ProfileForm): readonly string[] {
  return (Object.keys(PATHS) as (keyof ProfileForm)[])
    .filter((field) => JSON.stringify(before[field]) !== JSON.stringify(after[field]))
    .map((field) => PATHS[field]);
}

/**
 * The form when the profile was changed elsewhere meanwhile, from `before` to `now`: what was typed
 * here stays, what was left alone is as it is now.
 */
export function rebased(form: ProfileForm, before: ProfileForm, now: ProfileForm): ProfileForm {
  const typed = Object.entries(form).filter(([field, value]) => {
    return JSON.stringify(value) !== JSON.stringify(before[field as keyof ProfileForm]);
  });
  return { ...now, ...(Object.fromEntries(typed) as Partial<ProfileForm>) };
}

/** A list with one more entry, trimmed; the same list where it is empty, double or full. */
export function withEntry(
  entries: readonly string[],
  typed: string,
  most: number,
): readonly string[] {
  const entry = typed.trim().replace(/\s+/g, " ");
  const known = entries.some((each) => each.toLowerCase() === entry.toLowerCase());
  return !entry || known || entries.length >= most ? entries : [...entries, entry];
}
