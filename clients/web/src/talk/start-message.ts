/** How a talk is opened, from what the learner wishes. Pure. */

import { create } from "@bufbuild/protobuf";
import {
  type StartSession,
  StartSessionSchema,
} from "@parley/stubs/parley/conversation/v1/conversation_pb";
import { AudioEncoding } from "@parley/stubs/parley/types/v1/audio_pb";

import type { TalkPreferences } from "@/wishes/talk-preferences";

const CLIENT = "parley-web/0.1";

/** Makes the first message. What is left out is as in the account. */
export function startMessage(wishes: TalkPreferences, rateHz: number): StartSession {
  return create(StartSessionSchema, {
    scenarioId: wishes.scenarioId,
    engine: wishes.engine,
    voice: wishes.voice,
    inputFormat: { encoding: AudioEncoding.PCM_S16LE, sampleRateHz: rateHz, channels: 1 },
    captionsOnly: wishes.captionsOnly,
    noRecording: wishes.noRecording,
    tutorOpens: wishes.tutorOpens,
    client: CLIENT,
    // The page shows whether there is a button to hold, so its wish goes before the account's.
    turnTaking: { pushToTalk: wishes.pushToTalk },
    ...(wishes.speechRate !== 1 && { speechRate: wishes.speechRate }),
  });
}
