import { SelectField, Switch } from "@/ui/Field";
import { MicrophoneField } from "@/wishes/MicrophoneField";
import { SpeedField } from "@/wishes/SpeedField";
import { type TalkPreferences, usePreferences } from "@/wishes/talk-preferences";
import { voiceWords } from "@/wishes/voice-words";

import { type Catalog, voicesOf } from "./catalog";
import "./choices.css";
import { talk } from "./talk";
import { TutorField } from "./TutorField";

/** Tutor, voice, speed and manners. In a talk that goes on, what cannot change is left out. */
export function Choices({
  catalog,
  live,
}: {
  readonly catalog: Catalog | undefined;
  readonly live: boolean;
}) {
  const wishes = usePreferences();
  const prefer = (change: Partial<TalkPreferences>) => talk.prefer(change);
  const voices = catalog ? voicesOf(catalog, wishes.engine) : [];
  return (
    <div className="choices">
      {!live && (
        <TutorField
          engines={catalog?.engines ?? []}
          chosen={wishes.engine}
          onChoose={(engine) => prefer({ engine, voice: "" })}
        />
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
              {voiceWords(each)}
            </option>
          ))}
        </SelectField>
      )}
      <MicrophoneField
        chosen={wishes.microphoneId}
        onChoose={(microphoneId) => prefer({ microphoneId })}
      />
      <SpeedField rate={wishes.speechRate} onChoose={(speechRate) => prefer({ speechRate })} />
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
