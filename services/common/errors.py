"""The one exception type that crosses a service's border.

Domain and application code raise a subclass of `ParleyError`; one interceptor turns it into a
`google.rpc.Status` (see `services.common.status`). The `reason` is what programs branch on: it is
stable, listed in `services.common.reasons` and documented in `docs/errors.md`. The `message` is
for people and never carries speech, a token or a password.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar

from services.common.codes import Code

__all__ = [
    "Aborted",
    "AlreadyExists",
    "Cancelled",
    "Code",
    "DeadlineExceeded",
    "FailedPrecondition",
    "FieldViolation",
    "Internal",
    "InvalidArgument",
    "NotFound",
    "OutOfRange",
    "ParleyError",
    "PermissionDenied",
    "ResourceExhausted",
    "Unauthenticated",
    "Unavailable",
    "Unimplemented",
    "error_for_code",
]


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One field of the request that is wrong: its path in the message, and why."""

    field: str
    description: str


class ParleyError(Exception):
    """A failure with a documented reason.

    Args:
        message: one sentence for a person: what went wrong and what to do.
        reason: UPPER_SNAKE, a row of `services.common.reasons`.
        retryable: whether the same call may succeed later; the class's default when None.
        retry_after: seconds to wait before a retry, sent as `RetryInfo`; implies retryable.
        fields: the request's fields at fault, sent as `BadRequest`.
        metadata: further facts for programs, string to string, sent in `ErrorInfo`.
    """

    code: ClassVar[Code] = Code.UNKNOWN
    retryable_by_default: ClassVar[bool] = False

    def __init__(
        self,
        message: str,
        *,
        reason: str,
        retryable: bool | None = None,
        retry_after: float | None = None,
        fields: Iterable[FieldViolation] = (),
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason
        self.retry_after = retry_after
        if retryable is None:
            retryable = self.retryable_by_default or retry_after is not None
        self.retryable = retryable
        self.fields = tuple(fields)
        self.metadata: dict[str, str] = dict(metadata or {})

    def __str__(self) -> str:
        return f"{self.reason}: {self.message}"


class Cancelled(ParleyError):
    """The caller gave up."""

    code = Code.CANCELLED


class InvalidArgument(ParleyError):
    """The request is wrong whatever the state of the service."""

    code = Code.INVALID_ARGUMENT


class Unauthenticated(ParleyError):
    """No valid credentials came with the call."""

    code = Code.UNAUTHENTICATED


class PermissionDenied(ParleyError):
    """The caller is known and may not do this."""

    code = Code.PERMISSION_DENIED


class NotFound(ParleyError):
    """No such thing, or it belongs to another user."""

    code = Code.NOT_FOUND


class AlreadyExists(ParleyError):
    """The thing to be created is there already."""

    code = Code.ALREADY_EXISTS


class FailedPrecondition(ParleyError):
    """The request is right, but not in this state; the caller must change the state first."""

    code = Code.FAILED_PRECONDITION


class ResourceExhausted(ParleyError):
    """A limit or the capacity is reached."""

    code = Code.RESOURCE_EXHAUSTED


class Unavailable(ParleyError):
    """The service or one it needs cannot answer now; a retry may succeed."""

    code = Code.UNAVAILABLE
    retryable_by_default = True


class DeadlineExceeded(ParleyError):
    """The call ran out of its time."""

    code = Code.DEADLINE_EXCEEDED
    retryable_by_default = True


class Aborted(ParleyError):
    """Lost a race with another writer; retry the whole operation."""

    code = Code.ABORTED
    retryable_by_default = True


class OutOfRange(ParleyError):
    """A position past the end."""

    code = Code.OUT_OF_RANGE


class Unimplemented(ParleyError):
    """Part of the contract that this version does not do."""

    code = Code.UNIMPLEMENTED


class DataLoss(ParleyError):
    """What was stored is not there any more as it was; asking again does not help."""

    code = Code.DATA_LOSS


class Internal(ParleyError):
    """A bug of ours. The message says nothing of the cause; the log does."""

    code = Code.INTERNAL


_BY_CODE: dict[Code, type[ParleyError]] = {
    kind.code: kind
    for kind in (
        Cancelled,
        InvalidArgument,
        Unauthenticated,
        PermissionDenied,
        NotFound,
        AlreadyExists,
        FailedPrecondition,
        ResourceExhausted,
        Unavailable,
        DeadlineExceeded,
        Aborted,
        OutOfRange,
        Unimplemented,
        DataLoss,
        Internal,
    )
}


def error_for_code(code: Code) -> type[ParleyError]:
    """Return the subclass that stands for `code`; `Internal` for codes we never send."""
    return _BY_CODE.get(code, Internal)
