"""What waits in an outbox, for whoever watches: how much, for how long, and what was refused."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime

from prometheus_client import CollectorRegistry, Gauge
from sqlalchemy import Select, case, func, select
from sqlalchemy.orm import Session

from services.common.clock import Clock
from services.common.database import Database
from services.common.errors import ParleyError
from services.common.going_on import going_on
from services.common.outbox import OutboxMixin

# One query over an index; scrapes come every 15 s or so.
_EVERY_SECONDS = 10.0


class OutboxFigures:
    """Looks into the outbox `table` now and then, and keeps its gauges."""

    def __init__(
        self,
        database: Database,
        table: type[OutboxMixin],
        clock: Clock,
        registry: CollectorRegistry,
    ) -> None:
        self._database = database
        self._clock = clock
        refused = table.refused_at.is_not(None)
        # Neither sent nor refused; of refused ones the age says nothing of a lag.
        self._wanted: Select[int, int, datetime | None] = select(
            func.count(case((~refused, 1))),
            func.count(case((refused, 1))),
            func.min(case((~refused, table.created_at))),
        ).where(table.published_at.is_(None))
        self.waiting = Gauge(
            "parley_outbox_waiting", "Events that wait to be sent.", registry=registry
        )
        self.refused = Gauge(
            "parley_outbox_refused", "Events that were refused for good.", registry=registry
        )
        self.oldest = Gauge(
            "parley_outbox_oldest_seconds", "How long the oldest event waits.", registry=registry
        )

    async def run(self) -> None:
        """Look until cancelled. While the database is away the figures stay what they were."""
        while True:
            # It has told of itself where something was to be stored.
            with going_on("outbox_not_measured"), suppress(ParleyError):
                await self.look()
            await self._clock.sleep(_EVERY_SECONDS)

    async def look(self) -> None:
        """Look once.

        Raises:
            Unavailable: DATABASE_UNAVAILABLE.
        """

        def work(session: Session) -> tuple[int, int, datetime | None]:
            waiting, refused, oldest = session.execute(self._wanted).one()
            return waiting, refused, oldest

        waiting, refused, oldest = await self._database.read(work)
        self.waiting.set(waiting)
        self.refused.set(refused)
        now = self._clock.now()
        self.oldest.set(max(0.0, (now - (oldest or now)).total_seconds()))
