"""Whether the service takes calls."""

from __future__ import annotations

from enum import Enum

from services.common.errors import Unavailable

# Warming models takes seconds; asking every second is answered as soon as it matters.
_STARTING_RETRY_SECONDS = 1.0


class Phase(Enum):
    """Where a service is in its life."""

    STARTING = "starting"
    SERVING = "serving"
    STOPPING = "stopping"


class Gate:
    """Refuses calls until the service is ready. gRPC itself refuses them once it stops."""

    __slots__ = ("phase",)

    def __init__(self) -> None:
        self.phase = Phase.STARTING

    def check(self) -> None:
        """Let the call pass.

        Raises:
            Unavailable: SERVICE_STARTING.
        """
        if self.phase is Phase.STARTING:
            raise Unavailable(
                "The service is not ready yet.",
                reason="SERVICE_STARTING",
                retry_after=_STARTING_RETRY_SECONDS,
            )
