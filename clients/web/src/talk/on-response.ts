/** What the server's messages do, apart from what they show: the sound, and the measuring. */

import {
  type ConverseResponse,
  ReplyKind,
} from "@parley/stubs/parley/conversation/v1/conversation_pb";
import { ReplyEndReason } from "@parley/stubs/parley/types/v1/turn_pb";

import { wordsOf } from "./for-people";
import type { SilenceMeter } from "./silence";
import type { TutorVoice } from "./tutor-voice";

/** What a message may change. `voice` is null while there is no sound. */
export interface Parts {
  readonly voice: TutorVoice | null;
  readonly silence: SilenceMeter;
}

/** Does what a message asks for; `at` is when it came, on `performance.now`'s clock. */
export function onResponse(response: ConverseResponse, at: number, parts: Parts): void {
  const { voice, silence } = parts;
  const generation = Number(response.generation);
  const { message } = response;
  switch (message.case) {
    case "speechStarted":
      voice?.stopRepeating();
      silence.speechBegan();
      break;
    case "transcript":
      // A final one without words takes back what was heard: nobody waits for an answer to that.
      if (message.value.final && wordsOf(message.value) !== "") {
        silence.spoken(Number(message.value.endMs));
      }
      break;
    case "replyStarted": {
      const { kind } = message.value;
      voice?.stopRepeating();
      voice?.begin(generation);
      const answers = kind !== ReplyKind.OPENING && kind !== ReplyKind.HINT;
      silence.replyStarted(response.turn, generation, answers);
      break;
    }
    case "replyAudio": {
      const { pcm, offsetMs } = message.value;
      const samples = new Int16Array(pcm.slice().buffer);
      silence.replyAudio(generation, samples, at);
      voice?.push(generation, offsetMs, pcm, samples);
      break;
    }
    case "replyPaused":
      voice?.hold();
      break;
    case "replyResumed":
      voice?.goOn();
      break;
    case "replyEnded":
      if (message.value.reason === ReplyEndReason.COMPLETED) voice?.complete(generation);
      else voice?.stop(generation);
      break;
    default:
      break;
  }
}
