"""What can go wrong in a session, each with its documented reason."""

from __future__ import annotations

from collections.abc import Mapping

from services.common.errors import (
    Aborted,
    DeadlineExceeded,
    FailedPrecondition,
    FieldViolation,
    InvalidArgument,
    NotFound,
    ParleyError,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
)


def start_required() -> ParleyError:
    """The first message was not `start`, or none came in time."""
    return FailedPrecondition("The first message must be `start`.", reason="START_REQUIRED")


def no_first_message() -> ParleyError:
    """An upload that never said of which conversation it is."""
    return InvalidArgument(
        "The first message must come at once, and name the conversation.",
        reason="INVALID_REQUEST",
        fields=[FieldViolation("conversation_id", "is required in the first message")],
    )


def already_started() -> ParleyError:
    """`start` came again."""
    return FailedPrecondition(
        "The session has been started. Send `start` once; `settings` changes it.",
        reason="ALREADY_STARTED",
    )


def unknown_scenario(scenario_id: str) -> ParleyError:
    """No such scenario."""
    return InvalidArgument(
        f"There is no scenario {scenario_id!r}; ListScenarios tells which there are.",
        reason="UNKNOWN_SCENARIO",
        fields=[FieldViolation("start.scenario_id", "is not a known scenario")],
    )


def unsupported_format(field: str, why: str) -> ParleyError:
    """An audio format that live audio cannot have."""
    return InvalidArgument(
        f"The audio format is not supported: {why}.",
        reason="AUDIO_FORMAT_UNSUPPORTED",
        fields=[FieldViolation(field, why)],
    )


def bad_frame(why: str) -> ParleyError:
    """An audio message that cannot be used."""
    return InvalidArgument(
        f"The audio message was not used: {why}.",
        reason="AUDIO_FRAME_INVALID",
        fields=[FieldViolation("audio.pcm", why)],
    )


def audio_too_fast() -> ParleyError:
    """Audio faster than speech for longer than is borne."""
    return ResourceExhausted(
        "Audio came faster than real time for too long. Send it at the pace of speech.",
        reason="AUDIO_TOO_FAST",
    )


def messages_too_fast() -> ParleyError:
    """More messages than any client needs, for longer than a break explains."""
    return ResourceExhausted(
        "Messages came faster than is allowed. Start another conversation, and send fewer.",
        reason="MESSAGES_TOO_FAST",
    )


def too_long() -> ParleyError:
    """The longest session is over."""
    return ResourceExhausted(
        "The conversation reached its longest duration. What was said is saved.",
        reason="CONVERSATION_TOO_LONG",
    )


def idle() -> ParleyError:
    """Nothing came from the client for long."""
    return DeadlineExceeded(
        "Nothing came from the client for longer than the idle limit. What was said is saved; start"
        " again when you are back.",
        reason="CONVERSATION_IDLE",
        retryable=False,
    )


def stopping() -> ParleyError:
    """This process goes away."""
    return Unavailable(
        "The service is going away. Resume with the handle; nothing saved is lost.",
        reason="SERVICE_STOPPING",
        retry_after=0.5,
    )


def engine_unavailable() -> ParleyError:
    """The engine does not answer now; the session waits for it."""
    return Unavailable(
        "The tutor cannot answer at the moment. The session goes on as soon as it can.",
        reason="ENGINE_UNAVAILABLE",
        retry_after=1.0,
    )


def engine_gone() -> ParleyError:
    """The engine did not come back in time."""
    return Unavailable(
        "The tutor did not come back in time. What was said is saved; start again a little later.",
        reason="ENGINE_UNAVAILABLE",
        retry_after=5.0,
    )


def reply_too_long() -> ParleyError:
    """A reply longer than is ever played."""
    return ResourceExhausted(
        "The reply was longer than is played in one turn; its end was left out.",
        reason="REPLY_TOO_LONG",
    )


def storage_failing() -> ParleyError:
    """Turns cannot be stored now."""
    return Unavailable(
        "What is said cannot be stored at the moment. It is kept, and tried again.",
        reason="STORAGE_UNAVAILABLE",
    )


def storage_gone() -> ParleyError:
    """Turns cannot be stored, and no more can be kept."""
    return Unavailable(
        "What is said cannot be stored, and no more of it can be kept.",
        reason="STORAGE_UNAVAILABLE",
        retry_after=30.0,
    )


def not_stored_yet() -> ParleyError:
    """What there is to go on from is not written yet."""
    return Unavailable(
        "The end of what was said is not stored yet. It is kept; resume in a moment.",
        reason="STORAGE_UNAVAILABLE",
        retry_after=1.0,
    )


def recording_failing() -> ParleyError:
    """The sound is not recorded."""
    return Unavailable(
        "The sound of this conversation is not recorded at the moment; its words are.",
        reason="RECORDING_UNAVAILABLE",
    )


def profile_unavailable() -> ParleyError:
    """The learner's profile could not be read."""
    return Unavailable(
        "Your profile cannot be read at the moment; the tutor goes on without it.",
        reason="PROFILE_UNAVAILABLE",
    )


def unknown_engine(message: str) -> ParleyError:
    """No such engine."""
    return InvalidArgument(
        message,
        reason="UNKNOWN_ENGINE",
        fields=[FieldViolation("start.engine", "is not a known engine")],
    )


def unknown_voice(message: str) -> ParleyError:
    """No such voice."""
    return InvalidArgument(
        message,
        reason="UNKNOWN_VOICE",
        fields=[FieldViolation("start.voice", "is not a voice of the engine")],
    )


def at_capacity(retry_after: float | None = None) -> ParleyError:
    """No more sessions fit, here or into the engine."""
    return ResourceExhausted(
        "No more conversations fit at the moment. Try again in a few seconds.",
        reason="AT_CAPACITY",
        retry_after=retry_after or 5.0,
    )


def too_many_conversations(most: int) -> ParleyError:
    """One learner has as many sessions as one may have."""
    return ResourceExhausted(
        f"You have {most} live conversations, as many as are allowed. End one first.",
        reason="TOO_MANY_CONVERSATIONS",
        retry_after=5.0,
    )


def bad_handle() -> ParleyError:
    """A resume handle that resumes nothing."""
    return InvalidArgument(
        "The resume handle is malformed, past its time, or not yours. Start a new conversation.",
        reason="RESUME_HANDLE_INVALID",
        fields=[FieldViolation("start.resume_handle", "resumes no conversation")],
    )


def no_live_session() -> ParleyError:
    """No such live session of the caller's in this process."""
    return NotFound("There is no such live conversation.", reason="NO_LIVE_SESSION")


def session_elsewhere(way: Mapping[str, str]) -> ParleyError:
    """Another process holds the session, and goes on with it."""
    return Unavailable(
        "Another process holds this conversation; its affinity leads there.",
        reason="SESSION_ELSEWHERE",
        # About the time that a process which lets go of a session takes for it.
        retry_after=0.2,
        metadata=way,
    )


def account_deleted() -> ParleyError:
    """The learner has deleted the account."""
    return NotFound("This account no longer exists.", reason="USER_NOT_FOUND")


def signed_out() -> ParleyError:
    """The sign-in that the conversation was held with was ended."""
    return Unauthenticated(
        "You were signed out, so this conversation has ended. What was said is saved.",
        reason="SESSION_ENDED",
    )


def taken_over() -> ParleyError:
    """Another connection resumed the session."""
    return Aborted(
        "The conversation goes on over another connection.",
        reason="TAKEN_OVER",
        retryable=False,
    )


def client_too_slow() -> ParleyError:
    """The client does not read its responses."""
    return ResourceExhausted(
        "The responses were not read in time. Resume with the handle.",
        reason="CLIENT_TOO_SLOW",
        retryable=True,
    )


def ended() -> ParleyError:
    """The conversation is over."""
    return FailedPrecondition(
        "The conversation is over. Start another.", reason="CONVERSATION_ENDED"
    )
