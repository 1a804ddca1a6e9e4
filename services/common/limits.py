"""Every limit that the services share, declared once. `limits_page` renders `docs/limits.md`.

Sizes of single fields are limits as well; the contract declares those, in the protos.

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
        "MESSAGE_TOO_LARGE",
    )
    max_metadata_bytes: int = _limit(
        16 * 1024,
        "bytes",
        "two tokens and tracing headers take under 2 KiB",
        "RESOURCE_EXHAUSTED from the transport",
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
        "absorbs a stalled network's burst; more would be a recording, not speech",
        "AUDIO_TOO_FAST",
    )
    max_messages_per_second: int = _limit(
        500,
        "messages/s",
        "ten times what a microphone in 20 ms messages makes; 2,000 may come at once, as after a "
        "break of 30 s",
        "MESSAGES_TOO_FAST",
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
        "three sessions of a page that pushes its audio take 60 at most; five seconds' worth may "
        "come at once. Only for clients on other machines",
        "CALLS_TOO_FAST",
    )
    calls_per_address_per_second: float = _limit(
        1_000,
        "calls/s",
        "a class of thirty behind one address, each pushing audio; five seconds' worth may come at "
        "once. Only for clients on other machines; an IPv6 address counts by its /64",
        "CALLS_TOO_FAST; a WebSocket's handshake gets HTTP 429",
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
