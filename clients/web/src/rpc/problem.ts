/**
 * What went wrong, in plain words, and what the learner can do about it.
 *
 * The reason of the server's ErrorInfo chooses the words, never its text: reasons are stable
 * (docs/errors.md), and the words here are for learners, whose English may be young.
 */

import { Code } from "@connectrpc/connect";

import { type Refusal, connectionLost, refusalFromError, retryable } from "./refusal";

/** What the page offers beside the words. */
export type WayOn =
  | "retry" // do the same again
  | "sign-in"
  | "start-new" // another conversation
  | "use-default" // the server's own choice of engine, voice or scenario
  | "type" // go on without a microphone
  | "reload"
  | "none"; // nothing to press: it goes on by itself, or the form says where

/** One problem, ready to be shown. */
export interface Problem {
  /** One short sentence: what happened. */
  readonly title: string;
  /** One or two sentences: what to do now. Empty where the title says it. */
  readonly advice: string;
  readonly wayOn: WayOn;
  /** How long to wait before "retry" can help, in milliseconds; 0 where it may help at once. */
  readonly retryAfterMs: number;
  /** Fields of the request that are wrong, by their path in the contract. */
  readonly fields: Readonly<Record<string, string>>;
  /** For the curious and for reports: code, reason, request id. Never what was said. */
  readonly detail: string;
}

type Words = readonly [title: string, advice: string, wayOn: WayOn];

const SIGN_IN_AGAIN: Words = [
  "You have been signed out.",
  "Sign in to go on where you were.",
  "sign-in",
];

// Only a bug of ours, or a page from before an update, is refused so.
const OUT_OF_STEP: Words = [
  "This page and the server do not understand each other.",
  "Reload the page: it may be older than the server.",
  "reload",
];
const OURS: Words = [
  "Something went wrong on our side.",
  "Try again. If it happens again, tell us the details below.",
  "retry",
];
const SLOW: Words = ["That took too long.", "Try again; the server may be busy.", "retry"];
const WRONG_FIELDS: Words = ["Something here is not right yet.", "", "none"];

const WORDS: Readonly<Record<string, Words>> = {
  // Who you are
  TOKEN_MISSING: SIGN_IN_AGAIN,
  TOKEN_INVALID: SIGN_IN_AGAIN,
  TOKEN_EXPIRED: SIGN_IN_AGAIN,
  REFRESH_TOKEN_INVALID: SIGN_IN_AGAIN,
  SESSION_ENDED: [
    "You have been signed out, here or from another device.",
    "What you said is saved. Sign in to go on.",
    "sign-in",
  ],
  REFRESH_TOKEN_REUSED: [
    "You have been signed out to keep your account safe.",
    "Sign in again. If somebody else may know your password, change it in Settings.",
    "sign-in",
  ],
  USER_NOT_FOUND: ["This account no longer exists.", "You can make a new one.", "sign-in"],
  BAD_CREDENTIALS: [
    "That name and password do not go together.",
    "Check both and try again, or make a new account.",
    "none",
  ],
  USERNAME_TAKEN: [
    "Somebody already has this name.",
    "Choose another, or sign in with it.",
    "none",
  ],
  PASSWORD_TOO_COMMON: [
    "That password is one of the first that others would guess.",
    "Choose another; several random words are good.",
    "none",
  ],
  TOO_MANY_ATTEMPTS: ["Too many tries in a short time.", "Wait a moment, then try again.", "retry"],
  // Talking
  AT_CAPACITY: [
    "All tutors are busy right now.",
    "A place is often free again within a minute.",
    "retry",
  ],
  DAILY_BUDGET_SPENT: [
    "You have used up today's time with this tutor.",
    "Choose another tutor, or come back tomorrow.",
    "none",
  ],
  TOO_MANY_CONVERSATIONS: [
    "You already have conversations running.",
    "End the talk in your other tab or device, then try again.",
    "retry",
  ],
  ENGINE_UNAVAILABLE: [
    "The tutor cannot answer just now.",
    "Try again in a moment, or choose another tutor.",
    "retry",
  ],
  ENGINE_FAILED: [
    "The tutor lost the thread.",
    "The talk can go on; what was saved stays saved.",
    "retry",
  ],
  MODEL_NOT_INSTALLED: [
    "This tutor is not installed on the server.",
    "Choose another tutor, or use the server's own choice.",
    "use-default",
  ],
  UNKNOWN_ENGINE: [
    "This tutor is no longer on offer.",
    "Use the server's own choice instead.",
    "use-default",
  ],
  UNKNOWN_VOICE: [
    "This voice is no longer on offer.",
    "Use the tutor's own voice instead.",
    "use-default",
  ],
  UNKNOWN_SCENARIO: ["This situation is no longer on offer.", "Choose another one.", "use-default"],
  CONVERSATION_ENDED: ["This talk is over.", "What you said is saved in History.", "start-new"],
  NO_LIVE_SESSION: ["This talk is over.", "What you said is saved in History.", "start-new"],
  RESUME_HANDLE_INVALID: [
    "The talk could not be continued.",
    "It was away too long. What was saved is in History.",
    "start-new",
  ],
  CONVERSATION_IDLE: [
    "The talk ended because it was quiet for a long time.",
    "What you said is saved in History.",
    "start-new",
  ],
  CONVERSATION_TOO_LONG: [
    "This talk has reached its longest time.",
    "Well done! What you said is saved in History.",
    "start-new",
  ],
  TAKEN_OVER: [
    "The talk goes on in another tab or device.",
    "You can take it back by starting a new one here.",
    "start-new",
  ],
  CLIENT_TOO_SLOW: [
    "This connection is too slow for the tutor's voice.",
    "Try captions only, or a better network.",
    "retry",
  ],
  START_REQUIRED: OUT_OF_STEP,
  ALREADY_STARTED: OUT_OF_STEP,
  AUDIO_FORMAT_UNSUPPORTED: OUT_OF_STEP,
  AUDIO_FRAME_INVALID: OUT_OF_STEP,
  SEQUENCE_GAP: ["Something was lost on the way.", "Try again.", "retry"],
  AUDIO_TOO_FAST: ["Your sound came faster than it was spoken.", "Try again.", "retry"],
  MESSAGES_TOO_FAST: ["Something went too fast on our side.", "Start a new talk.", "start-new"],
  RECORDING_UNAVAILABLE: [
    "The sound is not being recorded at the moment.",
    "Your words are still saved.",
    "none",
  ],
  PROFILE_UNAVAILABLE: ["Your profile could not be read.", "The tutor goes on without it.", "none"],
  REPLY_TOO_LONG: ["That answer was too long; its end was left out.", "", "none"],
  // History and recordings
  CONVERSATION_NOT_FOUND: ["This conversation is not there.", "It may have been deleted.", "none"],
  RECORDING_NOT_FOUND: [
    "There is no recording of this.",
    "It may have been deleted, or never made.",
    "none",
  ],
  RECORDING_IN_PROGRESS: [
    "The recording is still being finished.",
    "Try again in a moment.",
    "retry",
  ],
  RECORDING_FAILED: ["The recording could not be kept.", "The words are all here.", "none"],
  RECORDING_DAMAGED: [
    "The recording is damaged where it is stored.",
    "Tell whoever runs this server; the words are all here.",
    "none",
  ],
  RECORDING_SEALED: [
    "The recording is locked, and the server has no key to it.",
    "Tell whoever runs this server; the words are all here.",
    "none",
  ],
  RECORDING_TOO_LONG: [
    "The recording has reached its longest time.",
    "What came before is kept, and every word is.",
    "none",
  ],
  BAD_RANGE: ["The recording ends before that.", "Choose an earlier place.", "none"],
  TRANSCODING_FAILED: [
    "The recording could not be prepared.",
    "Try again in a moment; the words are all here.",
    "retry",
  ],
  MEDIA_BUSY: ["The server is busy with other recordings.", "Try again in a moment.", "retry"],
  QUERY_INVALID: [
    "That search could not be understood.",
    'Use plain words, or a phrase in "quotes".',
    "none",
  ],
  PAGE_TOKEN_INVALID: ["This list has changed meanwhile.", "Reload the page.", "reload"],
  // The server
  SERVICE_STARTING: ["Parley is just starting.", "It will be ready in a moment.", "retry"],
  SESSION_ELSEWHERE: ["Your talk is being moved.", "Try again in a moment.", "retry"],
  SERVICE_STOPPING: ["The server is being restarted.", "Try again in a moment.", "retry"],
  PEER_UNAVAILABLE: ["A part of Parley does not answer.", "Try again in a moment.", "retry"],
  DATABASE_UNAVAILABLE: ["Parley cannot save at the moment.", "Try again in a moment.", "retry"],
  STORAGE_UNAVAILABLE: [
    "Recordings cannot be reached at the moment.",
    "Try again in a moment.",
    "retry",
  ],
  KEYS_UNAVAILABLE: [
    "Parley cannot check your sign-in at the moment.",
    "Try again in a moment.",
    "retry",
  ],
  TOO_MANY_CALLS: ["The server is very busy.", "Try again in a moment.", "retry"],
  CALLS_TOO_FAST: ["That was a lot in a short time.", "Wait a moment, then try again.", "retry"],
  DEADLINE_EXCEEDED: SLOW,
  PEER_FAILED: OURS,
  INTERNAL: OURS,
  INVALID_REQUEST: WRONG_FIELDS,
  MESSAGE_TOO_LARGE: ["That was too much at once.", "Send it in shorter pieces.", "none"],
  MALFORMED_MESSAGE: OUT_OF_STEP,
  PROFILE_FIELD_UNKNOWN: OUT_OF_STEP,
  REQUEST_ID_REUSED: OUT_OF_STEP,
  NOT_IMPLEMENTED: ["This server cannot do that yet.", "", "none"],
  // Found out by the page itself
  PAGE_OUTDATED: ["Parley has been renewed.", "Reload to get the new version.", "reload"],
  OFFLINE: ["You are offline.", "Check your connection. We go on as soon as it is back.", "retry"],
  FINISH_UNANSWERED: [
    "The server did not say that the talk is over.",
    "What was saved is in History; the last words may be missing.",
    "start-new",
  ],
  CONNECTION_LOST: [
    "The connection was lost and the talk could not be continued.",
    "What was saved is in History.",
    "start-new",
  ],
};

/** The reasons that have words here, for the test that compares them with the server's. */
export const REASONS_WITH_WORDS: readonly string[] = Object.keys(WORDS);

const UNREACHABLE: Words = [
  "Parley does not answer.",
  "Check your connection and whether the server runs, then try again.",
  "retry",
];

/** Puts a refusal into words. */
export function problemFromRefusal(refusal: Refusal): Problem {
  const [title, advice, wayOn] = wordsFor(refusal);
  const wait = refusal.retryAfterMs ?? 0;
  return {
    title,
    advice,
    wayOn,
    retryAfterMs: wait,
    fields: Object.fromEntries(refusal.violations.map((each) => [each.field, each.description])),
    detail: detailOf(refusal),
  };
}

/** Puts whatever a call threw into words. */
export function problemFromError(error: unknown): Problem {
  return problemFromRefusal(refusalFromError(error));
}

function wordsFor(refusal: Refusal): Words {
  const known = WORDS[refusal.reason];
  if (known) return known;
  if (refusal.code === Code.Unauthenticated) return SIGN_IN_AGAIN;
  if (refusal.violations.length > 0) return WRONG_FIELDS;
  if (refusal.code === Code.DeadlineExceeded) return SLOW;
  if (connectionLost(refusal)) return UNREACHABLE;
  if (refusal.reason && retryable(refusal))
    return [sentence(refusal.message), "Try again in a moment.", "retry"];
  if (refusal.reason) return [sentence(refusal.message), "", "none"];
  return OURS;
}

function sentence(text: string): string {
  return text ? text.charAt(0).toUpperCase() + text.slice(1) : OURS[0];
}

function detailOf({ code, reason, metadata, message }: Refusal): string {
  const id = metadata.request_id;
  return [Code[code], reason, reason ? "" : message, id ? `request ${id}` : ""]
    .filter(Boolean)
    .join(" · ");
}
