import { useEffect, useState } from "react";

import { SPEECH_RATES, type TalkPreferences, usePreferences } from "@/app/talk-preferences";
import { microphones } from "@/audio/microphone";
import { SelectField, Switch } from "@/ui/Field";
import { Segments } from "@/ui/Segments";

import { type Catalog, accentName, voicesOf } from "./catalog";
import "./choices.css";
import { talk } from "./talk";

const RATE_WORDS = ["Slow", "Calm", "Natural", "Quick"] as const;

/** Tutor, voice, speed and manners. In a talk that goes on, what cannot change is left out. */
export function Choices({
  catalog,
  live,
}: {
  readonly catalog: Catalog | undefined;
  readonly live: boolean;
}) {
  const wishes = usePreferences();
  const devices = useMicrophones();
  const prefer = (change: Partial<TalkPreferences>) => talk.prefer(change);
  const voices = catalog ? voicesOf(catalog, wishes.engine) : [];
  const engines = catalog?.engines ?? [];
  return (
    <div className="choices">
      {!live && engines.length > 0 && (
        <SelectField
          label="Tutor"
          hint={
            engines.find((each) => (wishes.engine ? each.name === wishes.engine : each.default))
              ?.description
          }
          value={wishes.engine}
          onChange={(event) => prefer({ engine: event.target.value, voice: "" })}
        >
          <option value="">The server’s choice</option>
          {engines.map((each) => (
            <option key={each.name} value={each.name} disabled={!each.available}>
              {each.name}
              {each.available ? "" : " (not available)"}
            </option>
          ))}
        </SelectField>
      )}
      {voices.length > 0 && (
        <SelectField
          label="Voice"
          hint={live ? "From the next answer on." : undefined}
          value={wishes.voice}
          onChange={(event) => prefer({ voice: event.target.value })}
        >
          <option value="">The tutor’s own</option>
          {voices.map((each) => (
            <option key={each.name} value={each.name}>
              {[each.displayName || each.name, accentName(each.language)]
                .filter(Boolean)
                .join(" · ")}
            </option>
          ))}
        </SelectField>
      )}
      {devices.length > 1 && (
        <SelectField
          label="Microphone"
          value={wishes.microphoneId}
          onChange={(event) => prefer({ microphoneId: event.target.value })}
        >
          <option value="">The system’s choice</option>
          {devices.map((each, i) => (
            <option key={each.deviceId} value={each.deviceId}>
              {each.label || `Microphone ${i + 1}`}
            </option>
          ))}
        </SelectField>
      )}
      <Segments
        label="How fast the tutor speaks"
        choices={SPEECH_RATES.map((rate, i) => [rate, RATE_WORDS[i] ?? ""] as const)}
        value={wishes.speechRate}
        onChange={(speechRate) => prefer({ speechRate })}
      />
      <div className="choices-switches">
        <Switch
          label="Hold to talk"
          hint="You are heard only while you hold the button or the space bar."
          checked={wishes.pushToTalk}
          onChange={(pushToTalk) => prefer({ pushToTalk })}
        />
        <Switch
          label="Captions only"
          hint="The tutor writes and stays silent."
          checked={wishes.captionsOnly}
          onChange={(captionsOnly) => prefer({ captionsOnly })}
        />
        <Switch
          label="I wear headphones"
          hint="Your voice is sent as it is, without taking the tutor’s echo out."
          checked={wishes.rawMicrophone}
          onChange={(rawMicrophone) => prefer({ rawMicrophone })}
        />
        {!live && (
          <>
            <Switch
              label="The tutor begins"
              checked={wishes.tutorOpens}
              onChange={(tutorOpens) => prefer({ tutorOpens })}
            />
            <Switch
              label="Do not record"
              hint="The words are saved; the sound is not."
              checked={wishes.noRecording}
              onChange={(noRecording) => prefer({ noRecording })}
            />
          </>
        )}
      </div>
    </div>
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
