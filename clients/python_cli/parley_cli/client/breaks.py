"""What the end of a stream means: another try, a stopped server, or an answer for good."""

from __future__ import annotations

import grpc
import grpc.aio

from parley_cli.failures import refusal_from_error


def status_is_hidden(error: grpc.aio.AioRpcError) -> bool:
    """Whether grpc.aio replaced the server's status by its own.

    A write that races with the server's refusal fails inside gRPC, and that failure overwrites the
    status (grpcio 1.85). Nothing was opened, so asking again is safe, and soon wins the race.
    """
    return error.code() is grpc.StatusCode.INTERNAL and "from Core" in (error.details() or "")


def worth_another_try(error: grpc.aio.AioRpcError) -> bool:
    """Whether coming back may find the session again."""
    refusal = refusal_from_error(error)
    return refusal.connection_lost or refusal.retryable


def is_refused(error: grpc.aio.AioRpcError) -> bool:
    """Whether nobody listens at the server's own address.

    A gateway that cannot reach what is behind it says the same of that in other words.
    """
    details = error.details() or ""
    return "Failed to connect to remote host" in details and "refused" in details


def goes_away(error: grpc.aio.AioRpcError) -> bool:
    """Whether the server says that it stops."""
    return refusal_from_error(error).reason == "SERVICE_STOPPING"
