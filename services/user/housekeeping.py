"""What is done now and then: deleting sessions and refresh tokens that are over."""

from __future__ import annotations

import structlog

from services.common.clock import Clock
from services.common.going_on import going_on
from services.user.store import Store

# Nothing waits for it. An account signed in at one place leaves 144 used tokens a day.
_EVERY_SECONDS = 3600.0

_log = structlog.get_logger(__name__)


class Housekeeping:
    """Prunes the store, hour by hour."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def run(self) -> None:
        """Do it again and again, until cancelled."""
        while True:
            with going_on("housekeeping_failed"):
                await self.once()
            await self._clock.sleep(_EVERY_SECONDS)

    async def once(self) -> None:
        """Delete what is over now.

        Raises:
            Unavailable: DATABASE_UNAVAILABLE.
        """
        now = self._clock.now()
        pruned = await self._store.write(lambda work: work.prune(now))
        if pruned:
            _log.info("pruned", rows=pruned)
