/**
 * The page's own session and transports without the page: for the browser tests that hold many
 * talks at once, and for `make bench-web`, which measures the way and not what is drawn.
 *
 * `window.driver` is all that they call.
 */

import { create } from "@bufbuild/protobuf";
import {
  ConverseRequestSchema,
  type ConverseResponse,
  ReplyKind,
  StartSessionSchema,
} from "@parley/stubs/parley/conversation/v1/conversation_pb";
import { AudioEncoding } from "@parley/stubs/parley/types/v1/audio_pb";
import { ReplyEndReason } from "@parley/stubs/parley/types/v1/turn_pb";

import { signUp } from "@/auth/session";
import { access, histories } from "@/rpc/clients";
import type { Refusal } from "@/rpc/refusal";
import { pageProtocol } from "@/transports/choose";
import type { SessionTransport, TransportName } from "@/transports/link";
import { Push } from "@/transports/push";
import { LiveSession } from "@/transports/session";
import { upload } from "@/transports/upload";
import { websocket } from "@/transports/websocket";

const RATE_HZ = 16_000;
const HEARD_EVERY_MS = 200;
// Between the end of an answer and the next utterance: a person takes a breath.
const BREATH_MS = 400;

function transportOf(name: TransportName): SessionTransport {
  switch (name) {
    case "upload":
      return upload;
    case "push":
      return new Push();
    case "websocket":
      return websocket;
  }
}

function startOf(engine = "") {
  return create(StartSessionSchema, {
    engine,
    inputFormat: { encoding: AudioEncoding.PCM_S16LE, sampleRateHz: RATE_HZ, channels: 1 },
    noRecording: true,
    client: "parley-web-driver/0.1",
  });
}

/** What is said, as base64 of int16 mono PCM at 16 kHz. */
function samplesOf(speech: string): Int16Array {
  const bytes = Uint8Array.from(atob(speech), (each) => each.charCodeAt(0));
  return new Int16Array(bytes.buffer);
}

/** A microphone that is a clock: silence, and what is to be said when it is asked for. */
class Clockwork {
  readonly #begunAt = performance.now();
  #sent = 0;
  #saying: Int16Array | null = null;
  #said = 0;
  readonly #timer: ReturnType<typeof setInterval>;

  constructor(
    private readonly frame: number,
    private readonly send: (pcm: Uint8Array, firstSample: number) => void,
  ) {
    this.#timer = setInterval(() => this.#tick(), (frame * 1000) / RATE_HZ);
  }

  say(samples: Int16Array): void {
    this.#saying = samples;
    this.#said = 0;
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  #tick(): void {
    const due = ((performance.now() - this.#begunAt) * RATE_HZ) / 1000;
    while (this.#sent + this.frame <= due) {
      const pcm = new Int16Array(this.frame);
      if (this.#saying) {
        pcm.set(this.#saying.subarray(this.#said, this.#said + this.frame));
        this.#said += this.frame;
        if (this.#said >= this.#saying.length) this.#saying = null;
      }
      this.send(new Uint8Array(pcm.buffer), this.#sent);
      this.#sent += this.frame;
    }
  }
}

/** One whole talk: so many turns, each said when the one before has been answered and saved. */
interface TalkPlan {
  readonly transport: TransportName;
  readonly speech: string;
  readonly turns: number;
}

/** What became of a turn. */
interface TurnOutcome {
  readonly number: number;
  transcript: string;
  /** Why the tutor spoke: an answer, an opening, a hint after a long silence. */
  kind: string;
  reply: string;
  audioMs: number;
  ended: string;
  heard: string;
  saved: boolean;
}

/** What became of one connection of a talk: the first, or one that was to go on with it. */
interface ConnectionOutcome {
  started: boolean;
  /** The reason of the refusal that ended it, or what broke; empty: its own side ended it. */
  refused: string;
}

/** What became of a talk. */
interface TalkOutcome {
  conversationId: string;
  turns: TurnOutcome[];
  /** Every connection that was tried, in order. */
  connections: ConnectionOutcome[];
  /** How often the connection was lost and came back. */
  reconnections: number;
  /** Responses that belong to another session, or came twice or out of order. */
  misplaced: number;
  /** The median wait for an answer, as the server says at the end. */
  medianSilenceMs: number;
  /** Why it ended before its time; empty where it did not. */
  failure: string;
}

/** The same way of holding a session, with every connection of it written down. */
function watched(transport: SessionTransport, connections: ConnectionOutcome[]): SessionTransport {
  const { name, frameMs, countsStart } = transport;
  return {
    name,
    frameMs,
    countsStart,
    open(start, count, events) {
      const connection: ConnectionOutcome = { started: false, refused: "" };
      connections.push(connection);
      return transport.open(start, count, {
        onResponse: (response) => {
          if (response.message.case === "started") connection.started = true;
          events.onResponse(response);
        },
        onEnd: (refused) => {
          connection.refused = refused ? refused.reason || `it broke: ${refused.message}` : "";
          events.onEnd(refused);
        },
      });
    },
  };
}

/** Holds a talk to its end. Never rejects: what went wrong is in the outcome. */
async function talk(plan: TalkPlan): Promise<TalkOutcome> {
  const outcome: TalkOutcome = {
    conversationId: "",
    turns: [],
    connections: [],
    reconnections: 0,
    misplaced: 0,
    medianSilenceMs: 0,
    failure: "",
  };
  const speech = samplesOf(plan.speech);
  let over!: () => void;
  const end = new Promise<void>((resolve) => (over = resolve));
  let microphone: Clockwork | null = null;
  let rateHz = 24_000;
  let playing: { generation: number; turn: number; from: number; audioMs: number } | null = null;
  let lastTurn = 0;

  const turnOf = (number: number): TurnOutcome => {
    let found = outcome.turns.find((each) => each.number === number);
    if (!found) {
      if (number !== lastTurn + 1) outcome.misplaced += 1;
      lastTurn = number;
      found = {
        number,
        transcript: "",
        kind: "",
        reply: "",
        audioMs: 0,
        ended: "",
        heard: "",
        saved: false,
      };
      outcome.turns.push(found);
    }
    return found;
  };

  const next = () => {
    if (outcome.turns.filter((each) => each.saved).length >= plan.turns) session.finish();
    else setTimeout(() => microphone?.say(speech), BREATH_MS);
  };

  const receive = ({ turn, generation, message }: ConverseResponse) => {
    switch (message.case) {
      case "started": {
        const { conversationId, outputFormat, resumed } = message.value;
        if (outcome.conversationId && outcome.conversationId !== conversationId) {
          outcome.misplaced += 1;
        }
        outcome.conversationId = conversationId;
        rateHz = outputFormat?.sampleRateHz ?? rateHz;
        if (resumed || microphone) break;
        microphone = new Clockwork((session.frameMs * RATE_HZ) / 1000, (pcm, first) =>
          session.sendAudio(pcm, first),
        );
        next();
        break;
      }
      case "transcript":
        if (message.value.final) {
          turnOf(turn).transcript = message.value.transcript?.verbatim ?? "";
        }
        break;
      case "replyStarted":
        turnOf(turn).kind = ReplyKind[message.value.kind];
        break;
      case "replyText":
        turnOf(turn).reply += message.value.text;
        break;
      case "replyAudio": {
        const audioMs = (message.value.pcm.length / 2 / rateHz) * 1000;
        turnOf(turn).audioMs += audioMs;
        if (playing?.generation !== Number(generation)) {
          playing = { generation: Number(generation), turn, from: performance.now(), audioMs: 0 };
        }
        playing.audioMs += audioMs;
        break;
      }
      case "replyEnded": {
        const outcomeOfTurn = turnOf(turn);
        outcomeOfTurn.ended = ReplyEndReason[message.value.reason];
        outcomeOfTurn.heard = message.value.heardText;
        playing = null;
        break;
      }
      case "turnSaved":
        turnOf(turn).saved = true;
        next();
        break;
      case "ended":
        outcome.medianSilenceMs = message.value.summary?.medianSilenceMs ?? 0;
        over();
        break;
      default:
        break;
    }
  };

  const session = new LiveSession(
    watched(transportOf(plan.transport), outcome.connections),
    startOf(),
    {
      onResponse: receive,
      onConnection: (connected) => {
        if (connected) outcome.reconnections += 1;
      },
      onEnd: (refused: Refusal | null) => {
        outcome.failure = refused ? `${refused.reason} ${refused.message}` : "";
        over();
      },
    },
    {
      now: () => performance.now(),
      after: (ms, run) => {
        const timer = setTimeout(run, ms);
        return () => clearTimeout(timer);
      },
      renew: () => access.token(),
      fallback: () => null,
    },
  );
  // A loudspeaker that plays from the first audio on, and says so as the page's does.
  const heard = setInterval(() => {
    if (!playing) return;
    const played = Math.min(performance.now() - playing.from, playing.audioMs);
    session.sendHeard(playing.generation, played);
  }, HEARD_EVERY_MS);
  session.open();
  await end;
  clearInterval(heard);
  (microphone as Clockwork | null)?.stop();
  session.close();
  return outcome;
}

/** How to measure a transport's round trips. */
interface TripPlan {
  readonly transport: TransportName;
  readonly seconds: number;
}

/**
 * Sends silence in real time as a talk does, a ping beside every fifth message, and returns how
 * long each pong took, in milliseconds.
 */
async function roundTrips({ transport, seconds }: TripPlan): Promise<number[]> {
  const trips: number[] = [];
  const sent = new Map<bigint, number>();
  let seq = 0n;
  let count = 0;
  let microphone: Clockwork | null = null;
  const chosen = transportOf(transport);
  if (transport === "websocket") seq = 1n;
  await new Promise<void>((resolve, reject) => {
    const link = chosen.open(
      startOf("scripted"),
      { seq, firstSeq: 0n },
      {
        onResponse: ({ message }) => {
          if (message.case === "started" && !microphone) {
            microphone = new Clockwork((chosen.frameMs * RATE_HZ) / 1000, (pcm, first) => {
              link.send(
                create(ConverseRequestSchema, {
                  seq: (seq += 1n),
                  message: { case: "audio", value: { pcm, firstSample: BigInt(first) } },
                }),
              );
              if (count++ % 5 !== 0) return;
              sent.set((seq += 1n), performance.now());
              link.send(
                create(ConverseRequestSchema, {
                  seq,
                  message: { case: "ping", value: { nonce: seq } },
                }),
              );
            });
            setTimeout(() => {
              microphone?.stop();
              // A connection that only broke would keep its session waiting for it.
              link.send(
                create(ConverseRequestSchema, {
                  seq: (seq += 1n),
                  message: { case: "finish", value: {} },
                }),
              );
            }, seconds * 1000);
          } else if (message.case === "pong") {
            const at = sent.get(message.value.nonce);
            if (at !== undefined) trips.push(performance.now() - at);
          } else if (message.case === "ended") {
            link.close();
            resolve();
          }
        },
        onEnd: (refused) => {
          reject(new Error(refused?.message ?? "the session ended"));
        },
      },
    );
  }).finally(() => microphone?.stop());
  return trips;
}

/** What history has of a conversation: its turns' numbers, and what both sides said. */
async function remembered(conversationId: string): Promise<[number, string, string][]> {
  const { turns } = await histories.getConversation({ conversationId });
  return turns.map(({ turn }) => [
    turn?.number ?? 0,
    turn?.utterance?.verbatim ?? "",
    turn?.heardText ?? "",
  ]);
}

const driver = { signUp, talk, roundTrips, remembered, protocol: pageProtocol };

declare global {
  interface Window {
    driver: typeof driver;
  }
}
window.driver = driver;
