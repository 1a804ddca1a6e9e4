"""What a caller is told when a handler raises."""

from __future__ import annotations

from collections.abc import Iterator

import grpc.aio
import structlog

from services.common.codes import Code
from services.common.errors import DeadlineExceeded, Internal, ParleyError, Unimplemented
from services.common.status import from_rpc_error

_log = structlog.get_logger(__name__)

# A peer's failure that means "not now" is passed on; any other is a bug in how we call it.
_PASSED_ON = frozenset({Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED, Code.RESOURCE_EXHAUSTED})


def as_parley_error(error: Exception, method: str) -> ParleyError:
    """Return what to tell the caller of `error`.

    A `ParleyError` is told as it is. Of anything else the caller learns only that it happened;
    the log has the traceback, under the request id.
    """
    if isinstance(error, ParleyError):
        if error.code is Code.INTERNAL:
            _log.error("call_failed", method=method, reason=error.reason, exc_info=error)
        return error
    if isinstance(error, NotImplementedError):
        # What a generated base class raises for a method that the servicer leaves out.
        return Unimplemented("This version does not do that yet.", reason="NOT_IMPLEMENTED")
    if isinstance(error, TimeoutError):
        return DeadlineExceeded("The call ran out of its time.", reason="DEADLINE_EXCEEDED")
    if isinstance(error, grpc.aio.AioRpcError):
        told = from_rpc_error(error)
        if told.code in _PASSED_ON:
            return told
    if isinstance(error, ExceptionGroup):
        # Of a task group's failures the first typed one says most.
        typed = next(_typed(error), None)
        if typed is not None:
            return as_parley_error(typed, method)
    _log.error("call_crashed", method=method, error=type(error).__name__, exc_info=error)
    return Internal("Something went wrong on our side.", reason="INTERNAL")


def _typed(group: ExceptionGroup[Exception]) -> Iterator[ParleyError]:
    for each in group.exceptions:
        if isinstance(each, ExceptionGroup):
            yield from _typed(each)
        elif isinstance(each, ParleyError):
            yield each
