"""Whose traces are still being removed, in SQL."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import delete, select, update

from services.common.database import Database
from services.user.adapters.tables import ErasureRow
from services.user.erasing import Erasure

# A round takes so many at once; the rest wait for the next.
_BATCH = 50


class SqlErasures:
    """`services.user.erasing.Erasures` over a database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def due(self, now: datetime) -> Sequence[Erasure]:
        """Return those that are to be tried now, the longest due first."""
        async with self._database.snapshot() as session:
            rows = await session.scalars(
                select(ErasureRow)
                .where(ErasureRow.next_attempt_at <= now)
                .order_by(ErasureRow.next_attempt_at)
                .limit(_BATCH)
            )
            return [Erasure(row.user_id, row.requested_at, row.attempts) for row in rows]

    async def postpone(self, user_id: str, until: datetime, attempts: int) -> None:
        """Have one tried again later."""
        async with self._database.transaction() as session:
            await session.execute(
                update(ErasureRow)
                .where(ErasureRow.user_id == user_id)
                .values(next_attempt_at=until, attempts=attempts)
            )

    async def done(self, user_id: str) -> None:
        """Forget one."""
        async with self._database.transaction() as session:
            await session.execute(delete(ErasureRow).where(ErasureRow.user_id == user_id))
