/** How a talk is opened, from what the learner wishes. Pure. */

import { type MessageInitShape, create } from "@bufbuild/protobuf";
import {
  type StartSession,
  StartSessionSchema,
} from "@parley/stubs/parley/conversation/v1/conversation_pb";
import { AudioEncoding } from "@parley/stubs/parley/types/v1/audio_pb";
import type { TurnTakingPreferencesSchema } from "@parley/stubs/parley/types/v1/learner_pb";

import type { TalkPreferences } from "@/wishes/talk-preferences";

const CLIENT = "parley-web/0.1";

/** How turns are taken, as a message is made of it. */
export type TurnTaking = MessageInitShape<typeof TurnTakingPreferencesSchema>;

/**
 * Makes the first message.
 *
 * `turnTaking` is the account's own: it is sent only where a wish changes it, since what is sent
 * replaces all of it.
 */
export function startMessage(
  wishes: TalkPreferences,
  turnTaking: TurnTaking,
  rateHz: number,
): StartSession {
  return create(StartSessionSchema, {
    scenarioId: wishes.scenarioId,
    engine: wishes.engine,
    voice: wishes.voice,
    inputFormat: { encoding: AudioEncoding.PCM_S16LE, sampleRateHz: rateHz, channels: 1 },
    captionsOnly: wishes.captionsOnly,
    noRecording: wishes.noRecording,
    tutorOpens: wishes.tutorOpens,
    client: CLIENT,
    ...(wishes.speechRate !== 1 && { speechRate: wishes.speechRate }),
    ...(wishes.pushToTalk && { turnTaking: { ...turnTaking, pushToTalk: true } }),
  });
}
