"""Whether the service takes calls, and how many are in progress."""

from __future__ import annotations

import asyncio
from enum import Enum
from typing import Final

from services.common.errors import Unavailable

# Warming models takes seconds; asking every second is answered as soon as it matters.
_STARTING_RETRY_SECONDS = 1.0
# Behind a gateway the next attempt reaches another instance; without one, the process that the
# supervisor starts in its place.
_STOPPING_RETRY_SECONDS = 0.5

LEAVING_KEY: Final = "x-envoy-immediate-health-check-fail"
"""With what is refused because the process stops: nothing of it was begun, and another process may
be asked. A gateway that is Envoy does so, and sends nothing new here from then on; it would learn
by asking for health, perhaps later than the process ends."""


class Phase(Enum):
    """Where a service is in its life."""

    STARTING = "starting"
    SERVING = "serving"
    STOPPING = "stopping"


class Gate:
    """Lets calls in while the service serves, and tells when the last one has left.

    The refusal while stopping is ours rather than gRPC's: it is typed, and the methods that
    belong to live streams still pass.
    """

    __slots__ = ("_empty", "live", "phase")

    def __init__(self) -> None:
        self.phase = Phase.STARTING
        self.live = 0
        self._empty: asyncio.Event | None = None

    def enter(self, *, while_draining: bool = False) -> None:
        """Let a call in; `leave` must follow when it has ended.

        Raises:
            Unavailable: SERVICE_STARTING or SERVICE_STOPPING.
        """
        if self.phase is Phase.STARTING:
            raise Unavailable(
                "The service is not ready yet.",
                reason="SERVICE_STARTING",
                retry_after=_STARTING_RETRY_SECONDS,
            )
        if self.phase is Phase.STOPPING and not while_draining:
            raise Unavailable(
                "The service is stopping.",
                reason="SERVICE_STOPPING",
                retry_after=_STOPPING_RETRY_SECONDS,
            )
        self.live += 1

    def leave(self) -> None:
        """Count a call out."""
        self.live -= 1
        if self.live == 0 and self._empty is not None:
            self._empty.set()

    async def empty(self) -> None:
        """Wait until no call is in progress."""
        self._empty = self._empty or asyncio.Event()
        while self.live:
            self._empty.clear()
            await self._empty.wait()
