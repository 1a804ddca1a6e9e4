import type { Account } from "@parley/stubs/parley/user/v1/user_pb";
import { useEffect, useState } from "react";

import { type TalkPreferences, SPEECH_RATES, prefer, usePreferences } from "@/app/talk-preferences";
import { microphones } from "@/audio/microphone";
import { ai } from "@/rpc/clients";
import { useCall } from "@/rpc/use-call";
import { SelectField, Switch } from "@/ui/Field";
import { ProblemCard } from "@/ui/ProblemCard";
import { Segments } from "@/ui/Segments";

import { Part } from "./Part";
import { SavingWords } from "./SavingWords";
import { useSaving } from "./use-saving";
import { voiceWords } from "./voice-words";

const RATE_WORDS = ["Slow", "Calm", "Natural", "Quick"] as const;

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
  const devices = useMicrophones();
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
        <Segments
          label="How fast the tutor speaks"
          choices={SPEECH_RATES.map((rate, i) => [rate, RATE_WORDS[i] ?? String(rate)] as const)}
          value={nearest(wishes.speechRate)}
          onChange={(speechRate) => prefer({ speechRate })}
        />
        <div className="part-row">
          <SavingWords saving={saving} />
        </div>
      </Part>
      <Part title="Sound on this device" about="Kept in this browser alone.">
        <SelectField
          label="Microphone"
          hint={
            devices.some((each) => each.label)
              ? undefined
              : "Your browser tells their names after your first talk."
          }
          value={wishes.microphoneId}
          onChange={(event) => prefer({ microphoneId: event.target.value })}
        >
          <option value="">The system’s choice</option>
          {devices
            .filter((each) => each.deviceId)
            .map((each, i) => (
              <option key={each.deviceId} value={each.deviceId}>
                {each.label || `Microphone ${i + 1}`}
              </option>
            ))}
        </SelectField>
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

function nearest(rate: number): (typeof SPEECH_RATES)[number] {
  return SPEECH_RATES.reduce((best, each) =>
    Math.abs(each - rate) < Math.abs(best - rate) ? each : best,
  );
}

function useMicrophones(): readonly MediaDeviceInfo[] {
  const [devices, setDevices] = useState<readonly MediaDeviceInfo[]>([]);
  useEffect(() => {
    let gone = false;
    microphones().then(
      (found) => {
        if (!gone) setDevices(found);
      },
      () => undefined,
    );
    return () => {
      gone = true;
    };
  }, []);
  return devices;
}
