import type { Account } from "@parley/stubs/parley/user/v1/user_pb";
import { type SubmitEvent, useMemo, useState } from "react";

import { Button } from "@/ui/Button";
import { SelectField, TextField } from "@/ui/Field";

import { EntriesField } from "./EntriesField";
import { languages } from "./languages";
import { Part } from "./Part";
import {
  BOUNDS,
  LEVELS,
  type ProfileForm,
  changedPaths,
  formOf,
  levelNamed,
  rebased,
} from "./profile";
import { SavingWords } from "./SavingWords";
import { ownTimeZone, timeZones, zoneWords } from "./time-zones";
import { useSaving } from "./use-saving";

/** What the tutor knows of the learner. */
export function AboutYou({ account }: { readonly account: Account }) {
  const kept = formOf(account.profile);
  const [form, setForm] = useState<ProfileForm>(kept);
  const [base, setBase] = useState<ProfileForm>(kept);
  if (changedPaths(base, kept).length > 0) {
    setBase(kept);
    setForm(rebased(form, base, kept));
  }
  const saving = useSaving();
  const change = (part: Partial<ProfileForm>) => setForm((before) => ({ ...before, ...part }));
  const paths = changedPaths(kept, form);
  const tongues = useMemo(() => languages(kept.firstLanguage), [kept.firstLanguage]);
  const zones = useMemo(() => timeZones(kept.timeZone), [kept.timeZone]);
  const submit = (event: SubmitEvent) => {
    event.preventDefault();
    if (paths.length === 0) return;
    const displayName = form.displayName.trim();
    change({ displayName });
    void saving.save(
      {
        profile: {
          ...form,
          displayName,
          interests: [...form.interests],
          goals: [...form.goals],
        },
      },
      paths,
    );
  };
  return (
    <Part
      title="You"
      about="The tutor reads this before each talk: it chooses its words by your level, and its subjects by what you like."
    >
      <form className="part-form" onSubmit={submit}>
        <TextField
          label="What the tutor calls you"
          autoComplete="given-name"
          maxLength={BOUNDS.name}
          value={form.displayName}
          onChange={(event) => change({ displayName: event.target.value })}
        />
        <SelectField
          label="Your first language"
          hint="So that the tutor knows which mistakes are hard for you to hear."
          value={form.firstLanguage}
          onChange={(event) => change({ firstLanguage: event.target.value })}
        >
          <option value="">Not said</option>
          {tongues.map(({ tag, words }) => (
            <option key={tag} value={tag}>
              {words}
            </option>
          ))}
        </SelectField>
        <SelectField
          label="Your level"
          hint={LEVELS.find(([level]) => level === form.level)?.[2]}
          value={form.level}
          onChange={(event) => change({ level: levelNamed(event.target.value) })}
        >
          {LEVELS.map(([level, words]) => (
            <option key={level} value={level}>
              {words}
            </option>
          ))}
        </SelectField>
        <EntriesField
          label="What you like to talk about"
          hint="The tutor brings these up when a talk has no subject of its own."
          placeholder="Football, cooking, my dog…"
          entries={form.interests}
          most={BOUNDS.interests}
          longest={BOUNDS.interest}
          onChange={(interests) => change({ interests })}
        />
        <EntriesField
          label="What you want to reach"
          hint="For example: “pass my interview in May”."
          placeholder="A goal…"
          entries={form.goals}
          most={BOUNDS.goals}
          longest={BOUNDS.goal}
          onChange={(goals) => change({ goals })}
        />
        <SelectField
          label="Your time zone"
          hint={
            form.timeZone !== ownTimeZone()
              ? `This device is in ${zoneWords(ownTimeZone())}.`
              : "It decides when your day of practice ends."
          }
          value={form.timeZone}
          onChange={(event) => change({ timeZone: event.target.value })}
        >
          <option value="">Not said</option>
          {zones.map((each) => (
            <option key={each} value={each}>
              {zoneWords(each)}
            </option>
          ))}
        </SelectField>
        <div className="part-row">
          <Button look="primary" type="submit" busy={saving.busy} disabled={paths.length === 0}>
            Save
          </Button>
          {paths.length > 0 && !saving.busy && (
            <Button look="quiet" onClick={() => setForm(kept)}>
              Put it back
            </Button>
          )}
          <SavingWords saving={saving} />
        </div>
      </form>
    </Part>
  );
}
