"""Deleting conversations that are older than they may become, where a setting says so."""

from __future__ import annotations

from datetime import timedelta

import structlog

from services.common.clock import Clock
from services.common.going_on import going_on
from services.history.application import History
from services.history.ports import Store

# Nothing waits for it: a day more or less is a day, an hour is soon enough.
_EVERY_SECONDS = 3600.0

# Deleted in a row before others write again; the next come at once.
_AT_ONCE = 50

_log = structlog.get_logger(__name__)


class Retention:
    """Deletes what is older than `days`, hour by hour, as its learner would: recordings as well."""

    def __init__(self, history: History, store: Store, clock: Clock, days: int) -> None:
        self._history = history
        self._store = store
        self._clock = clock
        self._age = timedelta(days=days)

    async def run(self) -> None:
        """Do it again and again, until cancelled."""
        while True:
            with going_on("retention_failed"):
                deleted = await self.once()
                if deleted:
                    _log.info("conversations_expired", conversations=deleted)
            await self._clock.sleep(_EVERY_SECONDS)

    async def once(self) -> int:
        """Delete what is too old now; return how many conversations that were.

        Raises:
            Unavailable: DATABASE_UNAVAILABLE.
        """
        before = self._clock.now() - self._age
        deleted = 0
        while True:
            async with self._store.reading() as view:
                found = await view.older_than(before, _AT_ONCE)
            for user_id, conversation_id in found:
                await self._history.expire(user_id, conversation_id)
            deleted += len(found)
            if not found:
                break
        if deleted:
            await self._store.scrub()
        return deleted
