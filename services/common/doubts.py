"""Events that their receiver failed with: whose fault that was, and when to give one up.

What ends or confuses a receiver would be sent to it for ever, and hold up all behind it. So events
that a call failed with are doubted: each is sent by itself, with nothing beside it, until it has
arrived or was at fault too often. A receiver that is away, or says that it cannot now, is nobody's
fault.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, auto

import grpc.aio

from services.common.codes import Code
from services.common.errors import ParleyError
from services.common.status import DETAILS_KEY

# More than any receiver was ever failed with at once; the oldest is forgotten, and counted anew.
_MOST_DOUBTED = 10_000

# How gRPC says that it never reached the peer.
_NOT_REACHED = ("failed to connect", "connection refused", "resolution failed", "empty address")


class Fault(Enum):
    """Why a call failed: an event in it, perhaps an event in it, or none."""

    EVENTS = auto()
    """The receiver failed in a way that nobody foresaw."""
    LOST = auto()
    """The receiver was there, and gone before it had answered."""
    NOT_NOW = auto()
    """The receiver is away, or says that it cannot take it now."""


def fault_of(error: Exception) -> Fault:
    """Return whose fault `error` is, with which events could not be sent."""
    if isinstance(error, OSError):
        return Fault.NOT_NOW
    if not isinstance(error, ParleyError):
        return Fault.EVENTS
    if error.code in (Code.INTERNAL, Code.UNKNOWN, Code.DATA_LOSS):
        return Fault.EVENTS
    if error.reason == "PEER_UNAVAILABLE" and _was_lost(error.__cause__):
        return Fault.LOST
    return Fault.NOT_NOW


def _was_lost(cause: BaseException | None) -> bool:
    """Whether a connection ended under a call; what a service of ours says has details."""
    if not isinstance(cause, grpc.aio.AioRpcError):
        return False
    if any(key == DETAILS_KEY for key, _ in cause.trailing_metadata() or ()):
        return False
    said = (cause.details() or "").lower()
    return not any(each in said for each in _NOT_REACHED)


@dataclass(slots=True)
class _Doubt:
    """tries: failures, whoever's fault. times: those that were its own.

    delivered: how much had gone through when the last of its own was counted.
    """

    delivered: int
    tries: int = 0
    times: int = 0


class Doubts:
    """Which events are doubted, and how often each was at fault.

    In memory: a process that starts again counts anew.
    """

    def __init__(self, most: int) -> None:
        """`most`: of so many faults of its own an event is given up."""
        self._most = most
        self._doubted: OrderedDict[str, _Doubt] = OrderedDict()
        self._delivered = 0

    def __contains__(self, event_id: str) -> bool:
        return event_id in self._doubted

    def tries(self, event_id: str) -> int:
        """Return how often the receiver failed or was lost when it was sent this by itself.

        Whatever is sent after such an event waits for the receiver to come back: send it last.
        """
        doubt = self._doubted.get(event_id)
        return 0 if doubt is None else doubt.tries

    def add(self, event_ids: Iterable[str]) -> None:
        """Doubt these events from now on."""
        for event_id in event_ids:
            self._doubted.setdefault(event_id, _Doubt(self._delivered))
            if len(self._doubted) > _MOST_DOUBTED:
                self._doubted.popitem(last=False)

    def settle(self, event_ids: Iterable[str]) -> None:
        """Say that these were delivered, or given up: nothing is known against them any more."""
        self._delivered += 1
        for event_id in event_ids:
            self._doubted.pop(event_id, None)

    def blame(self, event_id: str, error: Exception) -> str:
        """Count that an event, sent by itself, failed with `error`.

        Returns why it is given up; empty where it is to be sent again. That a receiver was lost
        counts where others have gone through since the last time: otherwise it may be nothing but a
        bad line, or a receiver that ends by itself.
        """
        self.add([event_id])
        doubt, fault = self._doubted[event_id], fault_of(error)
        if fault is Fault.NOT_NOW:
            return ""
        doubt.tries += 1
        if fault is Fault.LOST and self._delivered == doubt.delivered:
            return ""
        doubt.times += 1
        doubt.delivered = self._delivered
        if doubt.times < self._most:
            return ""
        if fault is Fault.LOST:
            return f"INTERNAL: the receiver ended when it was sent this, {doubt.times} times"
        said = error.reason if isinstance(error, ParleyError) else type(error).__name__
        return f"INTERNAL: {said}, {doubt.times} times"
