"""What can go wrong, as one plain sentence and what to do about it.

A command raises `CliFailure`; `app.main` prints it and exits with its code. Refusals of the server
arrive as `google.rpc.Status` in the trailer `grpc-status-details-bin`; the `ErrorInfo` reason in
it, not its text, chooses the advice.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

_STATUS_TRAILER = "grpc-status-details-bin"


class ExitCode(IntEnum):
    """What the shell sees. Documented in docs/cli.md; a number never changes its meaning."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NOT_SIGNED_IN = 3
    UNREACHABLE = 4
    NO_AUDIO_DEVICE = 5
    UNANSWERED = 6
    ABORTED = 130


class CliFailure(Exception):
    """An expected failure.

    Args:
        message: one sentence: what went wrong.
        advice: what to do now; empty where nothing helps.
        exit_code: what the shell sees.
        details: for `--verbose`: codes, reasons, request ids. Never a token or speech.
    """

    def __init__(
        self,
        message: str,
        *,
        advice: str = "",
        exit_code: ExitCode = ExitCode.FAILED,
        details: str = "",
    ) -> None:
        super().__init__(message)
        self.message = message
        self.advice = advice
        self.exit_code = exit_code
        self.details = details


@dataclass(frozen=True, slots=True)
class Refusal:
    """A `google.rpc.Status` with its details taken out.

    Attributes:
        code: the gRPC status code.
        message: the server's sentence.
        reason: UPPER_SNAKE from `ErrorInfo`; empty where there is none.
        retry_after_s: seconds from `RetryInfo`; None where waiting is not promised to help.
        violations: field path and what is wrong with it.
        metadata: further facts from `ErrorInfo`.
    """

    code: grpc.StatusCode
    message: str
    reason: str = ""
    retry_after_s: float | None = None
    violations: tuple[tuple[str, str], ...] = ()
    metadata: dict[str, str] = field(default_factory=dict)

    @property
    def retryable(self) -> bool:
        """Whether the same call may succeed later without being changed."""
        if self.retry_after_s is not None or self.code is grpc.StatusCode.UNAVAILABLE:
            return True
        return self.metadata.get("retryable") == "true"

    @property
    def connection_lost(self) -> bool:
        """Whether the way there broke, rather than the server having refused.

        Parley's refusals carry a reason. A stream that a gateway resets, because what is behind
        it died, comes as INTERNAL or UNKNOWN without one.
        """
        return not self.reason and self.code in _CODES_OF_A_BROKEN_WAY


# How gRPC itself refuses a message or a call's metadata by its length (also before sending it), and
# a call above the concurrency that a server has. No code of Parley's sees these: they come as bare
# text.
_TOO_LARGE = ("message larger than max", "metadata size exceeds")
_TOO_MANY = "concurrent rpc limit exceeded"
# A call ends within a second or so; then there is room for another.
_TOO_MANY_RETRY_S = 1.0

_CODES_OF_A_BROKEN_WAY = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.CANCELLED,
)
_CODES = {code.value[0]: code for code in grpc.StatusCode}

# What to do, by reason. Reasons that the server's own sentence explains fully are left out.
_ADVICE = {
    "TOKEN_MISSING": "Sign in with `parley login`.",
    "TOKEN_INVALID": "Sign in again with `parley login`.",
    "TOKEN_EXPIRED": "Sign in again with `parley login`.",
    "REFRESH_TOKEN_INVALID": "Sign in again with `parley login`.",
    "SESSION_ENDED": "Sign in again with `parley login`.",
    "CREDENTIALS_INVALID": "Check both, or make an account with `parley register`.",
    "BAD_CREDENTIALS": "Check both, or make an account with `parley register`.",
    "USERNAME_TAKEN": "Choose another name, or sign in with `parley login`.",
    "UNKNOWN_ENGINE": "`parley engines` lists the engines.",
    "UNKNOWN_VOICE": "`parley voices` lists the voices.",
    "UNKNOWN_SCENARIO": "`parley scenarios` lists the situations.",
    "CONVERSATION_NOT_FOUND": "`parley history` lists your conversations.",
    "RECORDING_NOT_FOUND": "It may have been deleted, or made with --no-record.",
    "RECORDING_IN_PROGRESS": "Wait until the conversation has ended, then try again.",
    "NO_LIVE_SESSION": "The session is over. Start a new one with `parley talk`.",
    "MODELS_MISSING": "Fetch the models on the server with `parley models fetch`.",
    "MESSAGE_TOO_LARGE": "Send less at once; the limits are in docs/limits.md.",
    "NOT_IMPLEMENTED": "The server does not do this yet; a later version will.",
}

_UNREACHABLE_ADVICE = (
    "Is Parley running? Start it with `make run`, or name its address with --server or "
    "PARLEY_SERVER. `parley doctor` looks closer."
)


def refusal_from_status(status: status_pb2.Status) -> Refusal:
    """Read a `google.rpc.Status` as it stands in a notice or a trailer."""
    reason = ""
    retry_after_s: float | None = None
    violations: list[tuple[str, str]] = []
    metadata: dict[str, str] = {}
    for detail in status.details:
        info = error_details_pb2.ErrorInfo()
        retry = error_details_pb2.RetryInfo()
        bad = error_details_pb2.BadRequest()
        if detail.Unpack(info):
            reason = info.reason
            metadata = dict(info.metadata)
        elif detail.Unpack(retry):
            retry_after_s = retry.retry_delay.ToTimedelta().total_seconds()
        elif detail.Unpack(bad):
            violations.extend((v.field, v.description) for v in bad.field_violations)
    return Refusal(
        code=_CODES.get(status.code, grpc.StatusCode.UNKNOWN),
        message=status.message,
        reason=reason,
        retry_after_s=retry_after_s,
        violations=tuple(violations),
        metadata=metadata,
    )


def refusal_from_error(error: grpc.RpcError) -> Refusal:
    """Read a failed call; falls back on its plain code and text where it carries no details."""
    code: grpc.StatusCode = error.code() if hasattr(error, "code") else grpc.StatusCode.UNKNOWN
    text: str = (error.details() or "") if hasattr(error, "details") else str(error)
    trailers: Any = error.trailing_metadata() if hasattr(error, "trailing_metadata") else None
    for key, value in trailers or ():
        if key == _STATUS_TRAILER and isinstance(value, bytes):
            status = status_pb2.Status()
            try:
                status.ParseFromString(value)
            except DecodeError:
                continue
            return refusal_from_status(status)
    return _bare_refusal(code, text)


def _bare_refusal(code: grpc.StatusCode, text: str) -> Refusal:
    """Read a refusal without details; gRPC's own are known by their text."""
    said = text.lower()
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        if any(each in said for each in _TOO_LARGE):
            message = "The message is larger than Parley takes."
            return Refusal(code, message, "MESSAGE_TOO_LARGE", metadata={"retryable": "false"})
        if _TOO_MANY in said:
            message = "Parley has as many calls in progress as it takes."
            return Refusal(code, message, "TOO_MANY_CALLS", retry_after_s=_TOO_MANY_RETRY_S)
    return Refusal(code=code, message=text)


def failure_from_refusal(refusal: Refusal, *, server: str = "") -> CliFailure:
    """Turn a refusal into the sentence, the advice and the exit code for it."""
    exit_code = ExitCode.FAILED
    message = refusal.message
    advice = _ADVICE.get(refusal.reason, "")
    if refusal.code is grpc.StatusCode.UNAUTHENTICATED:
        exit_code = ExitCode.NOT_SIGNED_IN
        advice = advice or "Sign in with `parley login`."
        if not refusal.reason:
            message = "The server did not accept your sign-in."
    elif refusal.code is grpc.StatusCode.UNAVAILABLE and not refusal.reason:
        exit_code = ExitCode.UNREACHABLE
        message = f"No answer from Parley at {server}." if server else "Parley does not answer."
        advice = _UNREACHABLE_ADVICE
    elif refusal.connection_lost:
        exit_code = ExitCode.UNREACHABLE
        message = f"The connection to Parley at {server} broke." if server else "It broke off."
        advice = "Try again; `parley doctor` tells which part is down."
    elif refusal.code is grpc.StatusCode.DEADLINE_EXCEEDED and not refusal.reason:
        exit_code = ExitCode.UNREACHABLE
        message = f"Parley at {server} took too long to answer." if server else "Too slow."
        advice = "Try again; `parley doctor` tells which part is slow or down."
    elif refusal.violations and refusal.reason in ("", "INVALID_REQUEST"):
        # A reason of its own has a sentence of its own; this one only says that fields are wrong.
        message = "; ".join(f"{path}: {text}" for path, text in refusal.violations)
    if refusal.code is grpc.StatusCode.INVALID_ARGUMENT:
        exit_code = ExitCode.USAGE
    if refusal.retry_after_s is not None:
        wait = f"Try again in {refusal.retry_after_s:.0f} s."
        advice = f"{advice} {wait}".strip()
    details = f"{refusal.code.name} {refusal.reason}".strip()
    if refusal.message and refusal.message != message:
        details += f": {refusal.message}"
    for key, value in sorted(refusal.metadata.items()):
        details += f"\n{key}: {value}"
    return CliFailure(
        message or "The server refused without saying why.",
        advice=advice,
        exit_code=exit_code,
        details=details,
    )


def failure_from_error(error: grpc.RpcError, *, server: str = "") -> CliFailure:
    """`failure_from_refusal` for a failed call."""
    return failure_from_refusal(refusal_from_error(error), server=server)
