"""What the end of a stream means: another try, a stopped server, or an answer for good."""

from __future__ import annotations

import grpc
import grpc.aio

from parley_cli.failures import CliFailure, ExitCode, refusal_from_error


def status_is_hidden(error: grpc.aio.AioRpcError) -> bool:
    """Whether grpc.aio replaced the server's status by its own.

    A write that races with the server's refusal fails inside gRPC, and that failure overwrites the
    status (grpcio 1.85). Nothing was opened, so asking again is safe, and soon wins the race.
    """
    return error.code() is grpc.StatusCode.INTERNAL and "from Core" in (error.details() or "")


def worth_another_try(error: grpc.aio.AioRpcError) -> bool:
    """Whether coming back may find the session again."""
    refusal = refusal_from_error(error)
    return refusal.connection_lost or refusal.retryable or is_silent(error)


def is_silent(error: grpc.aio.AioRpcError) -> bool:
    """Whether no answer came at all: what carries the calls may be dead without having broken."""
    refusal = refusal_from_error(error)
    return refusal.code is grpc.StatusCode.DEADLINE_EXCEEDED and not refusal.reason


def no_answer_within(seconds: float) -> grpc.aio.AioRpcError:
    """Return the error of a call whose answer was waited for so long.

    It is gRPC's own of a call past its deadline: a session as a whole has none.
    """
    nothing = grpc.aio.Metadata()
    return grpc.aio.AioRpcError(
        grpc.StatusCode.DEADLINE_EXCEEDED, nothing, nothing, f"no answer within {seconds:g} s"
    )


def is_refused(error: grpc.aio.AioRpcError) -> bool:
    """Whether nobody listens at the server's own address.

    A gateway that cannot reach what is behind it says the same of that in other words.
    """
    details = error.details() or ""
    return "Failed to connect to remote host" in details and "refused" in details


def goes_away(error: grpc.aio.AioRpcError) -> bool:
    """Whether the server says that it stops."""
    return refusal_from_error(error).reason == "SERVICE_STOPPING"


def not_resumed(failure: CliFailure) -> CliFailure:
    """Return what ends a session whose connection did not come back: the last try's `failure`."""
    return CliFailure(
        "The connection was lost and the conversation could not be resumed.",
        advice="Turns that were saved are in `parley history`.",
        exit_code=ExitCode.UNREACHABLE,
        details=_told(failure),
    )


def stopped(server: str, failure: CliFailure) -> CliFailure:
    """Return what ends a session whose server said goodbye and is gone."""
    return CliFailure(
        f"Parley at {server} was stopped, and the conversation with it.",
        advice="Turns that were saved are in `parley history` when it runs again.",
        exit_code=ExitCode.UNREACHABLE,
        details=_told(failure),
    )


def _told(failure: CliFailure) -> str:
    return f"{failure.message}\n{failure.details}"
