"""The gateway's own refusals, in the form of every other error of Parley.

When the gateway answers instead of a service, the client still finds a `google.rpc.Status` with an
`ErrorInfo` in `grpc-status-details-bin`, so it has one way to read errors. The reasons are those
of `docs/errors.md`.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Final

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message
from google.rpc.code_pb2 import Code
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status

DOMAIN: Final = "parley"


@dataclass(frozen=True, slots=True)
class Reply:
    """What the gateway says when it refuses for one cause.

    when: CEL over Envoy's attributes. `response.code_details` is Envoy's own word for the cause.
    code: the gRPC status, set even where Envoy would map its HTTP status to another.
    retry_after_ms: sent as RetryInfo; None where waiting does not help.
    """

    when: str
    code: int
    reason: str
    message: str
    retry_after_ms: int | None = None

    @property
    def retryable(self) -> bool:
        """Whether the same call may succeed later."""
        return self.retry_after_ms is not None

    @property
    def details(self) -> str:
        """The Status as the value of `grpc-status-details-bin`: base64 without padding."""
        status = Status(code=self.code, message=self.message)
        metadata = {"retryable": "true" if self.retryable else "false", "at": "gateway"}
        status.details.append(
            _packed(ErrorInfo(reason=self.reason, domain=DOMAIN, metadata=metadata))
        )
        if self.retry_after_ms is not None:
            retry = RetryInfo()
            retry.retry_delay.FromMilliseconds(self.retry_after_ms)
            status.details.append(_packed(retry))
        return base64.b64encode(status.SerializeToString()).decode().rstrip("=")


def _packed(message: Message) -> AnyMessage:
    detail = AnyMessage()
    detail.Pack(message)
    return detail


def _details_start_with(*prefixes: str) -> str:
    return " || ".join(f'response.code_details.startsWith("{each}")' for each in prefixes)


REPLIES: Final[tuple[Reply, ...]] = (
    Reply(
        _details_start_with("jwt_authn_access_denied{Jwt_is_missing}"),
        Code.UNAUTHENTICATED,
        "TOKEN_MISSING",
        "This method needs an access token.",
    ),
    Reply(
        _details_start_with("jwt_authn_access_denied{Jwt_is_expired}"),
        Code.UNAUTHENTICATED,
        "TOKEN_EXPIRED",
        "The access token is past its time.",
    ),
    Reply(
        _details_start_with(
            "jwt_authn_access_denied{Jwks_remote_fetch_is_failed}",
            "jwt_authn_access_denied{Jwks_is_not_loaded}",
        ),
        Code.UNAVAILABLE,
        "KEYS_UNAVAILABLE",
        "The keys that verify access tokens cannot be fetched now.",
        retry_after_ms=1_000,
    ),
    Reply(
        _details_start_with("jwt_authn_access_denied{Audiences"),
        Code.UNAUTHENTICATED,
        "TOKEN_INVALID",
        "The access token was refused: it is meant for somebody else.",
    ),
    Reply(
        _details_start_with("jwt_authn_access_denied"),
        Code.UNAUTHENTICATED,
        "TOKEN_INVALID",
        "The access token was refused.",
    ),
    Reply(
        _details_start_with("route_not_found"),
        Code.UNIMPLEMENTED,
        "NOT_IMPLEMENTED",
        "There is no such public method.",
    ),
    Reply(
        _details_start_with("request_payload_too_large"),
        Code.RESOURCE_EXHAUSTED,
        "MESSAGE_TOO_LARGE",
        "The request is larger than the gateway takes.",
    ),
    Reply(
        _details_start_with("upstream_reset_before_response_started{overflow"),
        Code.RESOURCE_EXHAUSTED,
        "TOO_MANY_CALLS",
        "The service has as many calls in progress as it takes.",
        retry_after_ms=1_000,
    ),
    Reply(
        _details_start_with(
            # Of the answer, and of a request that comes slowly or not at all.
            *("response_timeout", "upstream_max_stream_duration_reached"),
            *("upstream_per_try_timeout", "max_duration_timeout", "stream_idle_timeout"),
        ),
        Code.DEADLINE_EXCEEDED,
        "DEADLINE_EXCEEDED",
        "The call ran out of its time; whether it took effect is not known.",
    ),
    Reply(
        "response.code >= 502 && response.code <= 504",
        Code.UNAVAILABLE,
        "PEER_UNAVAILABLE",
        "The service behind this method does not answer now.",
        # About the time a supervised process takes to come back.
        retry_after_ms=1_000,
    ),
)
"""In order; the first whose `when` holds speaks."""
