import type { Account } from "@parley/stubs/parley/user/v1/user_pb";

import { ai } from "@/rpc/clients";
import { useCall } from "@/rpc/use-call";
import { SelectField, Switch } from "@/ui/Field";
import { ProblemCard } from "@/ui/ProblemCard";
import { MicrophoneField } from "@/wishes/MicrophoneField";
import { SpeedField } from "@/wishes/SpeedField";
import { type TalkPreferences, prefer, usePreferences } from "@/wishes/talk-preferences";
import { voiceWords } from "@/wishes/voice-words";

import { Part } from "./Part";
import { SavingWords } from "./SavingWords";
import { useSaving } from "./use-saving";

const WAYS: readonly (readonly [TalkPreferences["transport"], string])[] = [
  ["auto", "Whatever works best here"],
  ["upload", "Streamed upload (Chromium over HTTPS)"],
  ["push", "Small messages (works everywhere)"],
  ["websocket", "WebSocket"],
];

/** How the tutor sounds, and how the learner's voice gets to it. */
export function VoiceSection({ account }: { readonly account: Account }) {
  const wishes = usePreferences();
  const saving = useSaving();
  const voices = useCall("voices", async (signal) => (await ai.listVoices({}, { signal })).voices);
  const known = voices.value ?? [];
  return (
    <>
      <Part title="The tutor’s voice">
        {voices.problem && !voices.value ? (
          <ProblemCard problem={voices.problem} onWayOn={voices.again} />
        ) : (
          <SelectField
            label="Voice"
            hint="On every device of yours."
            disabled={voices.pending && !voices.value}
            value={account.voice}
            onChange={(event) => {
              // A wish of this browser alone would hide the one that counts everywhere.
              prefer({ voice: "" });
              void saving.save({ voice: event.target.value }, ["voice"]);
            }}
          >
            <option value="">The tutor’s own</option>
            {account.voice && !known.some((each) => each.name === account.voice) && (
              <option value={account.voice}>{account.voice}</option>
            )}
            {known.map((each) => (
              <option key={each.name} value={each.name}>
                {voiceWords(each)}
              </option>
            ))}
          </SelectField>
        )}
        <SpeedField rate={wishes.speechRate} onChoose={(speechRate) => prefer({ speechRate })} />
        <div className="part-row">
          <SavingWords saving={saving} />
        </div>
      </Part>
      <Part title="Sound on this device" about="Kept in this browser alone.">
        <MicrophoneField
          chosen={wishes.microphoneId}
          onChoose={(microphoneId) => prefer({ microphoneId })}
        />
        <Switch
          label="I wear headphones"
          hint="Your voice is sent as it is, without taking the tutor’s echo out of it. You sound clearer."
          checked={wishes.rawMicrophone}
          onChange={(rawMicrophone) => prefer({ rawMicrophone })}
        />
        <Switch
          label="Captions only"
          hint="The tutor writes and stays silent."
          checked={wishes.captionsOnly}
          onChange={(captionsOnly) => prefer({ captionsOnly })}
        />
      </Part>
      <Part
        title="Connection"
        about="How your voice travels. Leave it unless a talk keeps breaking off."
      >
        <SelectField
          label="Way"
          value={wishes.transport}
          onChange={(event) =>
            prefer({ transport: event.target.value as TalkPreferences["transport"] })
          }
        >
          {WAYS.map(([way, words]) => (
            <option key={way} value={way}>
              {words}
            </option>
          ))}
        </SelectField>
      </Part>
    </>
  );
}
