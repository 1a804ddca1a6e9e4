"""Every reason an error can carry: one table, rendered to `docs/errors.md`.

A service that raises a new reason adds its row here; a test reads the sources and fails on a
reason without a row, and on a `docs/errors.md` that differs from the table.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from services.common.codes import Code


@dataclass(frozen=True, slots=True)
class ReasonEntry:
    """A documented reason: its code, what it means, and what the caller should do."""

    reason: str
    code: Code
    meaning: str
    remedy: str


_COMMON = (
    ReasonEntry(
        "INVALID_REQUEST",
        Code.INVALID_ARGUMENT,
        "A field breaks a rule of the contract; `BadRequest` names each one.",
        "Correct the fields.",
    ),
    ReasonEntry(
        "MALFORMED_MESSAGE",
        Code.INVALID_ARGUMENT,
        "The bytes are not the protobuf message this method takes.",
        "Use stubs generated from this version of the contract.",
    ),
    ReasonEntry(
        "MESSAGE_TOO_LARGE",
        Code.RESOURCE_EXHAUSTED,
        "A message, or the metadata of a call, is larger than the limit of its kind.",
        "Send less at a time; the limits are in docs/limits.md.",
    ),
    ReasonEntry(
        "TOKEN_MISSING",
        Code.UNAUTHENTICATED,
        "The method needs an access token and none came.",
        "Log in, and send `authorization: Bearer <access token>`.",
    ),
    ReasonEntry(
        "TOKEN_INVALID",
        Code.UNAUTHENTICATED,
        "The access token is malformed, of another kind, or its signature does not verify.",
        "Log in again.",
    ),
    ReasonEntry(
        "TOKEN_EXPIRED",
        Code.UNAUTHENTICATED,
        "The access token is past its time.",
        "Call Refresh, then repeat the call.",
    ),
    ReasonEntry(
        "SERVICE_IDENTITY_REQUIRED",
        Code.PERMISSION_DENIED,
        "The method is internal: only named Parley services may call it.",
        "Call the public method instead.",
    ),
    ReasonEntry(
        "SERVICE_IDENTITY_INVALID",
        Code.UNAUTHENTICATED,
        "The calling service's token is malformed, expired, or not signed by a known service.",
        "Check that both services share the keys folder and the time of day.",
    ),
    ReasonEntry(
        "KEYS_UNAVAILABLE",
        Code.UNAVAILABLE,
        "The keys that verify access tokens cannot be fetched now.",
        "Retry after the time given.",
    ),
    ReasonEntry(
        "SERVICE_STARTING",
        Code.UNAVAILABLE,
        "The service is up and not ready yet: it migrates its tables or loads its models.",
        "Retry after the time given.",
    ),
    ReasonEntry(
        "SERVICE_STOPPING",
        Code.UNAVAILABLE,
        "The service is going away and takes no new work.",
        "Retry at once; another instance, or the restarted one, will answer.",
    ),
    ReasonEntry(
        "PEER_UNAVAILABLE",
        Code.UNAVAILABLE,
        "A service this one needs does not answer; `peer` in the metadata names it.",
        "Retry after the time given.",
    ),
    ReasonEntry(
        "PEER_FAILED",
        Code.INTERNAL,
        "A service this one needs failed with an error it did not document.",
        "Report the request id.",
    ),
    ReasonEntry(
        "DATABASE_UNAVAILABLE",
        Code.UNAVAILABLE,
        "The database does not answer, is busy past its timeout, or its disk is full.",
        "Retry after the time given; then look at the disk and the database.",
    ),
    ReasonEntry(
        "DEADLINE_EXCEEDED",
        Code.DEADLINE_EXCEEDED,
        "The call ran out of its time; whether it took effect is not known.",
        "Retry with the same request id, and a longer deadline if it happens often.",
    ),
    ReasonEntry(
        "TOO_MANY_CALLS",
        Code.RESOURCE_EXHAUSTED,
        "The service has as many calls in progress as it takes (gateway or transport say so), or "
        "as it takes of this account, or makes as many copies of everything as it can.",
        "Retry after the time given.",
    ),
    ReasonEntry(
        "CALLS_TOO_FAST",
        Code.RESOURCE_EXHAUSTED,
        "More calls a second came from this account or this address than is allowed.",
        "Retry after the time given.",
    ),
    ReasonEntry(
        "NOT_IMPLEMENTED",
        Code.UNIMPLEMENTED,
        "Part of the contract that this version does not do yet.",
        "Use a later version.",
    ),
    ReasonEntry(
        "INTERNAL",
        Code.INTERNAL,
        "A bug in Parley. The cause is in the service's log under the request id.",
        "Report the request id.",
    ),
)

_USER = (
    ReasonEntry(
        "BAD_CREDENTIALS",
        Code.UNAUTHENTICATED,
        "No such user, or the password is wrong; which of the two is not told.",
        "Check both, or register.",
    ),
    ReasonEntry(
        "USERNAME_TAKEN",
        Code.ALREADY_EXISTS,
        "Another account has this username (letter case and look-alike forms count as the same).",
        "Choose another.",
    ),
    ReasonEntry(
        "PASSWORD_TOO_COMMON",
        Code.INVALID_ARGUMENT,
        "The new password is one that guessers try first: on the list of the most common ones, "
        "the username, one short piece repeated, or a row of neighbouring characters.",
        "Choose another; several random words are good.",
    ),
    ReasonEntry(
        "REFRESH_TOKEN_INVALID",
        Code.UNAUTHENTICATED,
        "The refresh token is unknown or past its time, or its session was ended.",
        "Log in again.",
    ),
    ReasonEntry(
        "REFRESH_TOKEN_REUSED",
        Code.UNAUTHENTICATED,
        "A refresh token was used twice, so its whole session was ended.",
        "Log in again; if it was not you, change the password.",
    ),
    ReasonEntry(
        "SESSION_ENDED",
        Code.UNAUTHENTICATED,
        "The session of this access token was ended, here or at another device.",
        "Log in again.",
    ),
    ReasonEntry(
        "USER_NOT_FOUND",
        Code.NOT_FOUND,
        "The account of this token no longer exists.",
        "Register.",
    ),
    ReasonEntry(
        "TOO_MANY_ATTEMPTS",
        Code.RESOURCE_EXHAUSTED,
        "Too many failed attempts at this name or from this address, too many new accounts from "
        "this address, or more password checks wait than this instance can do in time.",
        "Retry after the time given.",
    ),
    ReasonEntry(
        "PROFILE_FIELD_UNKNOWN",
        Code.INVALID_ARGUMENT,
        "The update mask names a field that an account has not, or that cannot be changed.",
        "Name fields of `Account` other than `user_id`, `username` and `created_at`.",
    ),
    ReasonEntry(
        "REQUEST_ID_REUSED",
        Code.ALREADY_EXISTS,
        "The request id was used before, for another username or password.",
        "Make a new id for each new request.",
    ),
)

_CONVERSATION = (
    ReasonEntry(
        "START_REQUIRED",
        Code.FAILED_PRECONDITION,
        "The first message of a conversation must be `start`.",
        "Send `start` first.",
    ),
    ReasonEntry(
        "ALREADY_STARTED",
        Code.FAILED_PRECONDITION,
        "`start` came a second time on one stream.",
        "Send it once; use `settings` for changes.",
    ),
    ReasonEntry(
        "AUDIO_FORMAT_UNSUPPORTED",
        Code.INVALID_ARGUMENT,
        "The audio's encoding, rate or channel count is not one the service takes.",
        "Send signed 16-bit little-endian mono PCM at the rate in `started.formats`.",
    ),
    ReasonEntry(
        "AUDIO_FRAME_INVALID",
        Code.INVALID_ARGUMENT,
        "An audio message is empty, cut inside a sample, or longer than the limit.",
        "Send 20 to 100 ms a message, whole samples.",
    ),
    ReasonEntry(
        "AUDIO_TOO_FAST",
        Code.RESOURCE_EXHAUSTED,
        "Audio came faster than real time, and was held back for 30 s in all.",
        "Send at the pace of speech.",
    ),
    ReasonEntry(
        "CONVERSATION_NOT_FOUND",
        Code.NOT_FOUND,
        "No such conversation among this user's.",
        "Check the id.",
    ),
    ReasonEntry(
        "CONVERSATION_ENDED",
        Code.FAILED_PRECONDITION,
        "The conversation is over.",
        "Start another.",
    ),
    ReasonEntry(
        "CONVERSATION_IDLE",
        Code.DEADLINE_EXCEEDED,
        "Nothing came from the client for longer than the idle limit.",
        "Start or resume when the learner is back.",
    ),
    ReasonEntry(
        "CONVERSATION_TOO_LONG",
        Code.RESOURCE_EXHAUSTED,
        "The conversation reached its longest duration.",
        "Start another; the transcript is saved.",
    ),
    ReasonEntry(
        "TOO_MANY_CONVERSATIONS",
        Code.RESOURCE_EXHAUSTED,
        "This user has as many live conversations as are allowed.",
        "End one, or retry after the time given.",
    ),
    ReasonEntry(
        "RESUME_HANDLE_INVALID",
        Code.INVALID_ARGUMENT,
        "The resume handle is malformed, past its time, or of another user.",
        "Start a new conversation; saved turns are in history.",
    ),
    ReasonEntry(
        "CLIENT_TOO_SLOW",
        Code.RESOURCE_EXHAUSTED,
        "The client does not read its responses, and the buffer for it is full.",
        "Read faster, then resume.",
    ),
    ReasonEntry(
        "UNKNOWN_SCENARIO",
        Code.INVALID_ARGUMENT,
        "No such scenario.",
        "Call ListScenarios.",
    ),
    ReasonEntry(
        "UNKNOWN_ENGINE",
        Code.INVALID_ARGUMENT,
        "The request names an engine, a recognizer or a model that is not there.",
        "Call ListEngines, or name none for the default.",
    ),
    ReasonEntry(
        "UNKNOWN_VOICE",
        Code.INVALID_ARGUMENT,
        "The request names a voice that the engine does not have.",
        "Call ListVoices, or name none for the default.",
    ),
    ReasonEntry(
        "AT_CAPACITY",
        Code.RESOURCE_EXHAUSTED,
        "As much runs as this instance, its models and its cores can carry.",
        "Retry after the time given.",
    ),
    ReasonEntry(
        "DAILY_BUDGET_SPENT",
        Code.RESOURCE_EXHAUSTED,
        "The learner's budget of speech, tokens or characters for this day is used up, for engines "
        "that are paid for; `budget` in the metadata says which.",
        "Talk with an engine of this machine, or come back at the time given.",
    ),
    ReasonEntry(
        "NO_LIVE_SESSION",
        Code.NOT_FOUND,
        "No live conversation has this id; it ended, or another instance has it.",
        "Open a new session with Subscribe, resuming with the handle.",
    ),
    ReasonEntry(
        "TAKEN_OVER",
        Code.ABORTED,
        "The conversation was resumed over another connection, so this one ended.",
        "Nothing, if the other connection is yours.",
    ),
    ReasonEntry(
        "ENGINE_UNAVAILABLE",
        Code.UNAVAILABLE,
        "The ai service does not answer; the session waits for it, and ends if it stays away.",
        "Wait; after a fatal notice retry after the time given.",
    ),
    ReasonEntry(
        "REPLY_TOO_LONG",
        Code.RESOURCE_EXHAUSTED,
        "The tutor's reply was longer than is played in one turn; its end was left out.",
        "Nothing: the session goes on.",
    ),
    ReasonEntry(
        "RECORDING_UNAVAILABLE",
        Code.UNAVAILABLE,
        "The sound of the conversation is not recorded at the moment; its words are.",
        "Nothing: the session goes on.",
    ),
    ReasonEntry(
        "PROFILE_UNAVAILABLE",
        Code.UNAVAILABLE,
        "The learner's profile could not be read; the tutor goes on without it.",
        "Nothing: the session goes on.",
    ),
    ReasonEntry(
        "SESSION_ELSEWHERE",
        Code.UNAVAILABLE,
        "Another process of the service holds the conversation that is to be resumed.",
        "Try again with the `affinity` (for WebSockets `websocket_affinity`) of the error's "
        "metadata; without it again if nobody answers there.",
    ),
    ReasonEntry(
        "MESSAGES_TOO_FAST",
        Code.RESOURCE_EXHAUSTED,
        "More messages a second came than any client needs. The session ends.",
        "Send audio in messages of 20 ms or more, and report what was heard a few times a second.",
    ),
    ReasonEntry(
        "SEQUENCE_GAP",
        Code.INVALID_ARGUMENT,
        "A message's `seq` does not follow the one before it, and the gap was not filled in time.",
        "Number messages from 1 without gaps, and send a lost batch again.",
    ),
)

_AI = (
    ReasonEntry(
        "ENGINE_FAILED",
        Code.UNAVAILABLE,
        "The engine stopped in the middle of a session.",
        "Resume the conversation.",
    ),
    ReasonEntry(
        "MODEL_NOT_INSTALLED",
        Code.FAILED_PRECONDITION,
        "The model's files are not on this machine, or do not match their checksums.",
        "Run `parley models fetch`.",
    ),
    ReasonEntry(
        "AUDIO_TOO_LONG",
        Code.INVALID_ARGUMENT,
        "A recording is longer than the recognizer takes.",
        "Send it in parts; the limits are in docs/limits.md.",
    ),
)

_STORAGE = (
    ReasonEntry(
        "EVENT_CONFLICT",
        Code.ALREADY_EXISTS,
        "An event with this id was stored before with other content.",
        "Report it: ids must not be reused.",
    ),
    ReasonEntry(
        "EVENT_INVALID",
        Code.INVALID_ARGUMENT,
        "An event cannot be stored as it is.",
        "Report it: the sender and history differ in version.",
    ),
    ReasonEntry(
        "PAGE_TOKEN_INVALID",
        Code.INVALID_ARGUMENT,
        "The page token is not one this method gave for this query.",
        "Start again without a token.",
    ),
    ReasonEntry(
        "QUERY_INVALID",
        Code.INVALID_ARGUMENT,
        "The search text cannot be understood.",
        "Use plain words, or a phrase in double quotes.",
    ),
    ReasonEntry(
        "RECORDING_NOT_FOUND",
        Code.NOT_FOUND,
        "No such recording among this user's.",
        "Check the id; retention may have removed it.",
    ),
    ReasonEntry(
        "RECORDING_CONFLICT",
        Code.ALREADY_EXISTS,
        "The recording id was used for another conversation, or with other audio formats.",
        "Choose another id.",
    ),
    ReasonEntry(
        "RECORDING_TAKEN_OVER",
        Code.ABORTED,
        "A newer stream continues the same recording, so this one was ended.",
        "Nothing: the newer stream has all that was acknowledged.",
    ),
    ReasonEntry(
        "RECORDING_TOO_LONG",
        Code.RESOURCE_EXHAUSTED,
        "The recording is longer than is allowed.",
        "Finish it; what was acknowledged is kept.",
    ),
    ReasonEntry(
        "RECORDING_FAILED",
        Code.FAILED_PRECONDITION,
        "The recording could not be kept; `failure` of GetRecording says why.",
        "Nothing; its transcript is in history.",
    ),
    ReasonEntry(
        "RECORDING_DAMAGED",
        Code.DATA_LOSS,
        "The recording is not in its store as it was stored: bytes are missing or changed.",
        "Tell whoever runs the installation: a backup may have it.",
    ),
    ReasonEntry(
        "RECORDING_SEALED",
        Code.FAILED_PRECONDITION,
        "The recording is encrypted, and no key of the installation opens it; or it was changed "
        "where it is stored.",
        "Tell whoever runs the installation: the key that is missing stands in its log.",
    ),
    ReasonEntry(
        "STORAGE_UNAVAILABLE",
        Code.UNAVAILABLE,
        "The object store does not answer, or its disk is full.",
        "Retry after the time given.",
    ),
    ReasonEntry(
        "RECORDING_IN_PROGRESS",
        Code.FAILED_PRECONDITION,
        "The recording is still being made.",
        "Retry when the conversation has ended.",
    ),
    ReasonEntry(
        "BAD_AUDIO",
        Code.INVALID_ARGUMENT,
        "The bytes are not audio in a container and codec that Parley reads.",
        "Upload WAV, FLAC, MP3, M4A, Opus or WebM audio.",
    ),
    ReasonEntry(
        "NO_AUDIO",
        Code.INVALID_ARGUMENT,
        "The file is readable and holds no audio.",
        "Upload a file with an audio track.",
    ),
    ReasonEntry(
        "FILE_TOO_LARGE",
        Code.RESOURCE_EXHAUSTED,
        "The file is larger or longer than may be uploaded, or those of the account together are.",
        "Cut it, or delete others; the limits are settings of the installation, in "
        "docs/settings.md.",
    ),
    ReasonEntry(
        "BAD_RANGE",
        Code.OUT_OF_RANGE,
        "The range begins past the end of the recording.",
        "Ask for a range inside its size.",
    ),
    ReasonEntry(
        "LINKS_NOT_SUPPORTED",
        Code.FAILED_PRECONDITION,
        "Recordings are in a local folder, or encrypted by Parley itself: there are no links.",
        "Use DownloadRecording.",
    ),
    ReasonEntry(
        "TRANSCODING_FAILED",
        Code.INTERNAL,
        "What prepares the audio broke in the middle of it, and again when it was tried anew.",
        "Retry after the time given; if it happens again, report the request id.",
    ),
    ReasonEntry(
        "MEDIA_BUSY",
        Code.RESOURCE_EXHAUSTED,
        "As much audio is being transcoded as this machine can do at once.",
        "Retry after the time given.",
    ),
)

REASONS: dict[str, ReasonEntry] = {
    entry.reason: entry for entry in (*_COMMON, *_USER, *_CONVERSATION, *_AI, *_STORAGE)
}

_HEADER = """\
# Errors

Every failed call ends with a `google.rpc.Status` in the trailing metadata
`grpc-status-details-bin`. Its details hold:

- `google.rpc.ErrorInfo`: `reason` (a row below; branch on this), `domain` = `parley`, and in
  `metadata`: `retryable` (`true` or `false`), `request_id`, and what the row says.
- `google.rpc.BadRequest`: the fields at fault, when there are any.
- `google.rpc.RetryInfo`: how long to wait, when waiting helps.

Inside a conversation the same `Status` comes as a `notice`, and the stream goes on unless the
notice says it is fatal. A failure on the way (the network, a dead process) has no details: treat a
bare `UNAVAILABLE` as retryable, and a bare `INTERNAL` too. Two refusals of the transport itself are
bare as well, and are told apart by their text: `RESOURCE_EXHAUSTED` with `message larger than max`
or `metadata size exceeds` is MESSAGE_TOO_LARGE, and the same call will be refused again; with
`Concurrent RPC limit exceeded` it is TOO_MANY_CALLS, and can be tried again.

In Python, `grpc.aio` (up to 1.85 at least) hides a refusal that comes while the client writes: the
status is then `INTERNAL` with `Internal error from Core`. Write `start`, read the answer, and write
on only then; a call that was hidden so was not opened, and can be opened again.

This page is generated from `services/common/reasons.py`.

| reason | code | meaning | what to do |
|---|---|---|---|
"""


def render_reasons(entries: Iterable[ReasonEntry]) -> str:
    """Return the text of `docs/errors.md` for `entries`, in their order."""
    rows = (f"| `{e.reason}` | `{e.code.name}` | {e.meaning} | {e.remedy} |\n" for e in entries)
    return _HEADER + "".join(rows)
