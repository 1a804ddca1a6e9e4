"""Every limit that a client can come to, declared once. `limits_page` renders `docs/limits.md`.

Sizes of single fields are limits as well; the contract declares those, in the protos. What an
installation may want otherwise is a setting. `tests/tried_limits.py` says what tries each.

Crossing one gives a documented status code (see `services.common.reasons`), never a hang.
"""

from __future__ import annotations

from dataclasses import dataclass, field


def _limit(default: int | float, unit: str, why: str, crossing: str) -> int:
    """Declare a limit: its value, its unit, why it has that value, and what crossing it gives."""
    metadata = {"unit": unit, "why": why, "crossing": crossing}
    # dataclasses.field is typed as its default; the fields below say int or float themselves.
    value: int = field(default=default, metadata=metadata)  # type: ignore[assignment]
    return value


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one process. The defaults are the product's; tests make smaller ones."""

    max_message_bytes: int = _limit(
        4 * 1024 * 1024,
        "bytes",
        "the gRPC default; the largest honest message is a page of transcripts, which ends at half "
        "of it. More would be held for every call before it is known whose it is",
        "RESOURCE_EXHAUSTED from the transport; see below",
    )
    max_stream_message_bytes: int = _limit(
        1024 * 1024,
        "bytes",
        "large enough that per-message cost vanishes in an upload, small enough to hold for each "
        "live stream; an audio message has 19,200 bytes at most",
        "MESSAGE_TOO_LARGE; a WebSocket's frame of more than twice as much closes it (1009)",
    )
    max_piece_message_bytes: int = _limit(
        65 * 1024,
        "bytes",
        "a piece of a file or of a recording, which has 64 KiB, with the fields around it",
        "MESSAGE_TOO_LARGE",
    )
    max_open_message_bytes: int = _limit(
        4 * 1024,
        "bytes",
        "health checks and reflection, which ask with a service's name and are open to anybody",
        "MESSAGE_TOO_LARGE",
    )
    max_metadata_bytes: int = _limit(
        16 * 1024,
        "bytes",
        "two tokens and tracing headers take under 2 KiB",
        "RESOURCE_EXHAUSTED from the transport",
    )
    max_token_characters: int = _limit(
        4_096,
        "characters",
        "ours have about 500; what is longer is not taken apart",
        "TOKEN_INVALID",
    )
    max_service_token_characters: int = _limit(
        1_024,
        "characters",
        "of a service's own token, which has 300; what is longer is not taken apart",
        "SERVICE_IDENTITY_INVALID",
    )
    max_audio_message_ms: int = _limit(
        200,
        "ms",
        "longer messages would delay barge-in by as much as they hold",
        "AUDIO_FRAME_INVALID",
    )
    max_audio_ahead_ms: int = _limit(
        2_000,
        "ms",
        "of real time: absorbs a stalled network's burst; more would only be heard late",
        "what comes behind it waits until time has caught up; nothing is lost",
    )
    audio_held_back_seconds: float = _limit(
        30,
        "s",
        "in all of a session, of waiting as above: a microphone's clock that runs 0.1 % fast needs "
        "7 s in the longest one, a stalled network a few more. Past it the audio is a file",
        "AUDIO_TOO_FAST",
    )
    audio_catch_up_seconds: float = _limit(
        40,
        "s",
        "what piled up while a network or a machine stood still comes at once: as much as in the "
        "longest break that a client resumes after, with what was lost before it was noticed",
        "as `max_audio_ahead_ms`",
    )
    max_messages_per_second: int = _limit(
        500,
        "messages/s",
        "ten times what a microphone in 20 ms messages makes",
        "MESSAGES_TOO_FAST",
    )
    message_burst_seconds: float = _limit(
        4,
        "s",
        "so many seconds' worth of them may come at once: what a microphone made in a break of "
        "30 s, with what is said meanwhile",
        "MESSAGES_TOO_FAST",
    )
    push_reorder_messages: int = _limit(
        300,
        "messages",
        "six requests of a browser in flight, of 50 messages each: a batch overtakes no more",
        "SEQUENCE_GAP; nothing of the batch is taken",
    )
    waiting_texts: int = _limit(
        8,
        "texts",
        "typed while the tutor is away; nobody types more before an answer",
        "ENGINE_UNAVAILABLE as a notice; the session goes on",
    )
    max_utterance_ms: int = _limit(
        90_000,
        "ms",
        "a minute and a half without a pause is noise, or a reading; recognizers take two minutes",
        "the turn ends with what was heard",
    )
    conversation_idle_seconds: float = _limit(
        300,
        "s",
        "a learner may think or fetch tea; a forgotten session must free its place",
        "CONVERSATION_IDLE",
    )
    conversation_max_seconds: float = _limit(
        7_200,
        "s",
        "two hours, more than any lesson",
        "CONVERSATION_TOO_LONG",
    )
    start_timeout_seconds: float = _limit(
        10,
        "s",
        "`start` is the first message and needs no thought",
        "START_REQUIRED",
    )
    closing_seconds: float = _limit(
        60,
        "s",
        "for the last answer, when a client has closed its side of a session",
        "the session ends",
    )
    unheard_seconds: float = _limit(
        10,
        "s",
        "a session whose client is cut off before it said a word: nothing in it is worth a place "
        "for longer",
        "RESUME_HANDLE_INVALID when it comes back",
    )
    engine_away_seconds: float = _limit(
        15,
        "s",
        "an engine that restarts is back within a few; nobody waits longer for a word",
        "ENGINE_UNAVAILABLE; the session ends",
    )
    max_reply_queued_ms: int = _limit(
        120_000,
        "ms",
        "of a reply's audio that waits to be played: the longest reply has a minute",
        "REPLY_TOO_LONG as a notice; the rest of that reply is left out",
    )
    unsaved_turns: int = _limit(
        100,
        "entries",
        "at a turn every 10 s a quarter of an hour of failing storage",
        "STORAGE_UNAVAILABLE; the session ends",
    )
    conversations_per_user: int = _limit(
        3,
        "streams",
        "two devices and one reconnect that overlaps",
        "TOO_MANY_CONVERSATIONS",
    )
    sessions_per_user: int = _limit(
        50,
        "sessions",
        "more places than one person signs in at; a session that is forgotten lives for a month. "
        "The one that began first makes room",
        "the session that was signed in first is ended",
    )
    max_username_characters: int = _limit(
        64,
        "characters",
        "of a name that is no email address, which may have 254",
        "INVALID_REQUEST",
    )
    min_username_characters: int = _limit(
        3,
        "characters",
        "at least: there are few shorter ones, and the first to come would have them all",
        "INVALID_REQUEST",
    )
    max_email_characters: int = _limit(
        254,
        "characters",
        "of an email address: what mail itself allows (RFC 5321, 4.5.3.1)",
        "INVALID_REQUEST",
    )
    max_email_local_characters: int = _limit(
        64,
        "characters",
        "of it before the @, by the same rule; a name between its dots has 63 (RFC 1035, 2.3.4)",
        "INVALID_REQUEST",
    )
    max_marks_on_a_letter: int = _limit(
        4,
        "marks",
        "in a username: more pile up over other lines (UTS #39, 5.4)",
        "INVALID_REQUEST",
    )
    min_password_characters: int = _limit(
        8,
        "characters",
        "at least, of a new one: NIST SP 800-63B, where no other rule is made of it",
        "INVALID_REQUEST",
    )
    max_password_characters: int = _limit(
        256,
        "characters",
        "of a password: more than anybody types, and little to hash",
        "INVALID_REQUEST",
    )
    password_share: float = _limit(
        0.25,
        "of the places",
        "of those where passwords wait (`PARLEY_USER_PASSWORD_QUEUE`), for one address or account: "
        "whoever floods the door leaves the others theirs",
        "TOO_MANY_ATTEMPTS",
    )
    login_name_factor: int = _limit(
        3,
        "times `PARLEY_USER_LOGIN_ATTEMPTS`",
        "failures at one name from all addresses: guessing with many machines stays hopeless",
        "TOO_MANY_ATTEMPTS, but where somebody has signed in with the name before",
    )
    login_address_factor: int = _limit(
        10,
        "times `PARLEY_USER_LOGIN_ATTEMPTS`",
        "failures at all names from one address: a school mistypes more than a person does",
        "TOO_MANY_ATTEMPTS",
    )
    login_tries_factor: int = _limit(
        3,
        "times `PARLEY_USER_LOGIN_ATTEMPTS`",
        "attempts at one name from one address, failed or not: each costs the machine the same",
        "TOO_MANY_ATTEMPTS",
    )
    login_address_tries_factor: int = _limit(
        30,
        "times `PARLEY_USER_LOGIN_ATTEMPTS`",
        "attempts from one address, failed or not: a school of 300 may come at once",
        "TOO_MANY_ATTEMPTS",
    )
    exports_at_once: int = _limit(
        4,
        "exports",
        "pieces of them are made at once, each with a call to another service: more would slow "
        "those who talk. One for each account",
        "TOO_MANY_CALLS",
    )
    uploads_per_user: int = _limit(
        2,
        "uploads",
        "what lies on the disk before it is counted: so many files of the largest size",
        "MEDIA_BUSY",
    )
    upload_idle_seconds: float = _limit(
        30,
        "s",
        "an upload that stands still so long has lost its sender",
        "DEADLINE_EXCEEDED",
    )
    waiting_renditions: int = _limit(
        16,
        "files",
        "each waits a few seconds at most for those before it; more would miss their deadlines",
        "MEDIA_BUSY",
    )
    waiting_speech_calls: int = _limit(
        64,
        "calls",
        "for a speech model on this machine. A turn needs three, so this is several turns of every "
        "session; more would answer later than anybody waits",
        "AT_CAPACITY",
    )
    turns_page_bytes: int = _limit(
        2 * 1024 * 1024,
        "bytes",
        "of a page of turns, whatever was asked: half of the largest message",
        "the page ends; the next begins there",
    )
    concurrent_calls: int = _limit(
        2_000,
        "calls",
        "twice the sessions one process carries, so that overload is refused before memory is. "
        "As many WebSockets have places of their own",
        "RESOURCE_EXHAUSTED from the transport; a WebSocket's handshake gets HTTP 503",
    )
    calls_per_user_per_second: float = _limit(
        100,
        "calls/s",
        "three sessions of a page that pushes its audio take 60 at most. Only for clients on other "
        "machines",
        "CALLS_TOO_FAST",
    )
    calls_per_address_per_second: float = _limit(
        1_000,
        "calls/s",
        "a class of thirty behind one address, each pushing audio. Only for clients on other "
        "machines; an IPv6 address counts by its /64",
        "CALLS_TOO_FAST; a WebSocket's handshake gets HTTP 429",
    )
    call_burst_seconds: float = _limit(
        5,
        "s",
        "so many seconds' worth of calls may come at once, of a user as of an address: a page that "
        "opens, a client after a break",
        "as the two above",
    )
    concurrent_calls_per_user: int = _limit(
        100,
        "calls",
        "three sessions of a page have a dozen in progress each; one learner's must leave the "
        "places to others. Only for clients on other machines; a WebSocket is one of them",
        "TOO_MANY_CALLS",
    )
    resume_buffer_messages: int = _limit(
        1_024,
        "messages",
        "about 40 s of reply audio and its events",
        "the oldest audio is dropped; control events are kept",
    )
    resume_buffer_bytes: int = _limit(
        2 * 1024 * 1024,
        "bytes",
        "30 s of 24 kHz audio are 1.4 MB",
        "as `resume_buffer_messages`",
    )
    waiting_responses: int = _limit(
        512,
        "messages",
        "that a client lets wait: a reply's lead is a dozen, so this one has stopped reading for "
        "half a minute",
        "CLIENT_TOO_SLOW; it can resume",
    )
    waiting_response_bytes: int = _limit(
        2 * 1024 * 1024,
        "bytes",
        "of the same, where they are large",
        "CLIENT_TOO_SLOW; it can resume",
    )
    default_deadline_seconds: float = _limit(
        10,
        "s",
        "a unary call without a deadline must still end; the slowest ordinary one takes 1 s",
        "DEADLINE_EXCEEDED",
    )
    max_deadline_seconds: float = _limit(
        120,
        "s",
        "of a unary call; the gateway allows less. A client that asks for a day must not hold a "
        "place for one",
        "the deadline is shortened to it",
    )
    max_stream_seconds: float = _limit(
        7_400,
        "s",
        "of a call that streams, with a deadline or without: above the longest conversation, below "
        "what the gateway allows, and enough for the largest upload on a slow line. What stands "
        "still ends earlier: at the gateway, a talk by its own limits, an upload after 30 s",
        "DEADLINE_EXCEEDED",
    )
    peer_deadline_seconds: float = _limit(
        5,
        "s",
        "a call between services inside one machine or cluster",
        "DEADLINE_EXCEEDED",
    )


DEFAULT_LIMITS = Limits()
