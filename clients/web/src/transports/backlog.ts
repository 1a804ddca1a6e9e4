/**
 * What the learner said and may not have arrived: in order, bounded, ready to be sent again. Pure.
 *
 * A message keeps its `seq`, by which the server knows what it had; audio is known by its samples.
 * Full policies: audio, 36 s of it, the oldest goes and the server hears silence there; what the
 * learner did (typed, ended a turn, stopped the tutor, finished), the last 32. Reports and pings are
 * not kept: a new connection begins with the newest report.
 */

import type { ConverseRequest } from "@parley/stubs/parley/conversation/v1/conversation_pb";

// The longest break that is survived, the pause before the try that finds it over, and what the
// network had swallowed before it was noticed.
const KEPT_AUDIO_S = 36;
const KEPT_ACTS = 32;

/** The learner's side of one session, as far as it may have to be sent again. */
export class Backlog {
  readonly #mostSamples: number;
  #samples = 0;
  #audio: ConverseRequest[] = [];
  #acts: ConverseRequest[] = [];

  constructor(sampleRateHz: number) {
    this.#mostSamples = KEPT_AUDIO_S * sampleRateHz;
  }

  /** Keeps a message that is being sent, or would be if there were a connection. */
  add(request: ConverseRequest): void {
    switch (request.message.case) {
      case "audio":
        this.#audio.push(request);
        this.#samples += samplesOf(request);
        while (this.#samples > this.#mostSamples) {
          const oldest = this.#audio.shift();
          if (!oldest) break;
          this.#samples -= samplesOf(oldest);
        }
        break;
      case "text":
      case "interrupt":
      case "endTurn":
      case "finish":
        this.#acts.push(request);
        if (this.#acts.length > KEPT_ACTS) this.#acts.shift();
        break;
      default:
        break;
    }
  }

  /** The lowest number that might be sent again; 0 where nothing is kept. */
  get firstSeq(): bigint {
    const numbers = [this.#audio[0]?.seq, this.#acts[0]?.seq].filter((seq) => seq !== undefined);
    return numbers.reduce((least, seq) => (seq < least ? seq : least), numbers[0] ?? 0n);
  }

  /** Returns what a new connection needs, in order; audio before `nextSample` has arrived. */
  again(nextSample: number): ConverseRequest[] {
    this.#audio = this.#audio.filter((each) => endOf(each) > nextSample);
    this.#samples = this.#audio.reduce((sum, each) => sum + samplesOf(each), 0);
    return [...this.#audio, ...this.#acts].sort((a, b) => (a.seq < b.seq ? -1 : 1));
  }
}

function samplesOf({ message }: ConverseRequest): number {
  return message.case === "audio" ? message.value.pcm.length / 2 : 0;
}

function endOf(request: ConverseRequest): number {
  const { message } = request;
  return message.case === "audio" ? Number(message.value.firstSample) + samplesOf(request) : 0;
}
