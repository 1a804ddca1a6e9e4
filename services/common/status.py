"""`ParleyError` to `google.rpc.Status` and back.

On the wire a failed call carries the Status in the trailing metadata `grpc-status-details-bin`;
inside a conversation the same Status stands in a notice.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc
import grpc.aio
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status

from services.common.codes import Code
from services.common.errors import FieldViolation, ParleyError, error_for_code

DOMAIN = "parley"
DETAILS_KEY = "grpc-status-details-bin"

# Without advice from the peer: long enough for a supervised process to start listening again.
_DEAD_PEER_RETRY_SECONDS = 1.0

# How gRPC itself refuses a message or a call's metadata by its length (also before sending it), and
# a call above the concurrency it was given. No code of ours sees these, so they have no details.
_TOO_LARGE = ("message larger than max", "metadata size exceeds")
_TOO_MANY = "concurrent rpc limit exceeded"

_GRPC_CODES = {code.value[0]: code for code in grpc.StatusCode}


def to_status(error: ParleyError, request_id: str = "") -> Status:
    """Return the Status that tells of `error`."""
    info = ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=error.metadata)
    info.metadata["retryable"] = "true" if error.retryable else "false"
    if request_id:
        info.metadata["request_id"] = request_id
    status = Status(code=int(error.code), message=error.message)
    status.details.append(_packed(info))
    if error.fields:
        violations = [
            BadRequest.FieldViolation(field=each.field, description=each.description)
            for each in error.fields
        ]
        status.details.append(_packed(BadRequest(field_violations=violations)))
    if error.retry_after is not None:
        retry = RetryInfo()
        retry.retry_delay.FromMilliseconds(round(error.retry_after * 1000))
        status.details.append(_packed(retry))
    return status


def from_status(status: Status) -> ParleyError:
    """Return the error that `status` tells of.

    A Status of another domain, or without ErrorInfo, becomes an error whose reason is its code's
    name.
    """
    code = Code(status.code) if status.code in Code._value2member_map_ else Code.UNKNOWN
    kind = error_for_code(code)
    info, bad, retry = ErrorInfo(), BadRequest(), RetryInfo()
    for detail in status.details:
        # Unpack leaves a message of another type as it is.
        _ = detail.Unpack(info) or detail.Unpack(bad) or detail.Unpack(retry)
    metadata = dict(info.metadata)
    said = metadata.pop("retryable", None)
    delayed = retry.HasField("retry_delay")
    return kind(
        status.message,
        reason=info.reason or code.name,
        retryable=None if said is None else said == "true",
        retry_after=retry.retry_delay.ToMilliseconds() / 1000 if delayed else None,
        fields=[FieldViolation(each.field, each.description) for each in bad.field_violations],
        metadata=metadata,
    )


def from_rpc_error(error: grpc.aio.AioRpcError, peer: str = "") -> ParleyError:
    """Return the error behind a failed call to another service.

    With details it is what that service raised. Without, nobody of ours answered: UNAVAILABLE
    and DEADLINE_EXCEEDED keep their code (PEER_UNAVAILABLE, DEADLINE_EXCEEDED), both retryable;
    a stream that was reset on the way is PEER_UNAVAILABLE too. What gRPC itself refuses is
    MESSAGE_TOO_LARGE, which no repeating helps, or TOO_MANY_CALLS. Other codes get PEER_FAILED.
    """
    status = _details(error)
    if status is not None:
        found = from_status(status)
        found.metadata.pop("request_id", None)
        return found
    metadata = {"peer": peer} if peer else {}
    code = Code(error.code().value[0])
    if code is Code.UNAVAILABLE or _was_reset(code, error):
        return error_for_code(Code.UNAVAILABLE)(
            f"The {peer or 'called'} service does not answer.",
            reason="PEER_UNAVAILABLE",
            retry_after=_DEAD_PEER_RETRY_SECONDS,
            metadata=metadata,
        )
    if code is Code.DEADLINE_EXCEEDED:
        return error_for_code(code)(
            f"The {peer or 'called'} service did not answer in time.",
            reason="DEADLINE_EXCEEDED",
            metadata=metadata,
        )
    said = (error.details() or "").lower()
    if code is Code.RESOURCE_EXHAUSTED and any(each in said for each in _TOO_LARGE):
        return error_for_code(code)(
            f"The message is larger than the {peer or 'called'} service takes.",
            reason="MESSAGE_TOO_LARGE",
            retryable=False,
            metadata=metadata,
        )
    if code is Code.RESOURCE_EXHAUSTED and _TOO_MANY in said:
        return error_for_code(code)(
            f"The {peer or 'called'} service has as many calls in progress as it takes.",
            reason="TOO_MANY_CALLS",
            retry_after=_DEAD_PEER_RETRY_SECONDS,
            metadata=metadata,
        )
    return error_for_code(code)(
        f"The {peer or 'called'} service failed with {code.name}.",
        reason="PEER_FAILED",
        retryable=code in (Code.RESOURCE_EXHAUSTED, Code.ABORTED),
        metadata=metadata,
    )


def _was_reset(code: Code, error: grpc.aio.AioRpcError) -> bool:
    """Whether a proxy cut the stream because the process behind it went away.

    gRPC reports that as INTERNAL. Our own INTERNAL has details, so this is none of ours.
    """
    return code is Code.INTERNAL and "RST_STREAM" in (error.details() or "")


@contextmanager
def rpc_errors(peer: str) -> Iterator[None]:
    """Turn `AioRpcError` of the calls made inside the block into `ParleyError`.

    with rpc_errors("history"):
        await stub.Ingest(request)
    """
    try:
        yield
    except grpc.aio.AioRpcError as error:
        raise from_rpc_error(error, peer) from error


def grpc_code(code: Code) -> grpc.StatusCode:
    """Return gRPC's own name for `code`."""
    return _GRPC_CODES[int(code)]


def _packed(message: Any) -> AnyMessage:
    detail = AnyMessage()
    detail.Pack(message)
    return detail


def _details(error: grpc.aio.AioRpcError) -> Status | None:
    for key, value in error.trailing_metadata() or ():
        if key == DETAILS_KEY and isinstance(value, bytes):
            try:
                return Status.FromString(value)
            except DecodeError:
                return None
    return None
