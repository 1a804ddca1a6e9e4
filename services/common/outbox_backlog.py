"""What waits in an outbox and what became of what was sent: the relay's side of its table."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Generic

from sqlalchemy import ColumnElement, Select, Update, delete, func, select, update
from sqlalchemy.orm import Session

from services.common.clock import Clock
from services.common.database import Database
from services.common.outbox import Row
from services.common.refusals import MOST_CHARACTERS


class Backlog(Generic[Row]):
    """The events of an outbox `table` that were neither sent nor refused.

    batch: most events that are sent in one call. Every method raises `Unavailable`
    (DATABASE_UNAVAILABLE) while the database is away.
    """

    def __init__(self, database: Database, table: type[Row], clock: Clock, batch: int) -> None:
        self._database = database
        self._table = table
        self._clock = clock
        self._batch = batch

    async def due(self) -> list[list[Row]]:
        """Read, for each aggregate whose oldest waiting event is due, its first events."""
        return await self._database.read(self._read_due)

    async def next_due(self) -> datetime | None:
        """Return when the next aggregate's oldest event is due; None where nothing waits."""
        first = select(func.min(self._table.next_attempt_at)).where(
            self._table.position.in_(self._heads())
        )
        return await self._database.read(lambda session: session.scalar(first))

    async def count(self) -> int:
        """Return how many events wait to be sent."""
        waiting = select(func.count()).where(*self._not_sent())
        return await self._database.read(lambda session: session.scalar(waiting)) or 0

    async def note_sent(self, rows: Sequence[Row]) -> None:
        """Note that their receiver has stored these."""
        await self._change(
            update(self._table)
            # Not by position: SQLite gives that of a deleted row again, and an account may have
            # been erased while its events were on their way. Another's would be taken for sent.
            .where(self._table.event_id.in_([row.event_id for row in rows]))
            .values(
                published_at=self._clock.now(),
                attempts=self._table.attempts + 1,
                # Who took the event keeps it, and can delete it: no second copy stays here.
                payload=b"",
            )
        )

    async def note_refused(self, row: Row, refusal: str) -> None:
        """Note that its receiver will never store this, and why: it is a dead letter."""
        await self._change(
            update(self._table)
            .where(self._table.event_id == row.event_id)
            .values(
                refused_at=self._clock.now(),
                refusal=refusal[:MOST_CHARACTERS],
                attempts=self._table.attempts + 1,
            )
        )

    async def put_off(self, rows: Sequence[Row], seconds: float) -> None:
        """Note that these could not be sent: they, and what follows them, wait for so long."""
        await self._change(
            update(self._table)
            .where(self._table.event_id.in_([row.event_id for row in rows]))
            .values(
                attempts=self._table.attempts + 1,
                next_attempt_at=self._clock.now() + timedelta(seconds=seconds),
            )
        )

    async def prune(self, keep_seconds: float) -> int:
        """Delete events that were sent longer ago than so many seconds; return how many."""
        before = self._clock.now() - timedelta(seconds=keep_seconds)
        newest = select(func.max(self._table.position)).group_by(self._table.aggregate_id)
        # The newest row of an aggregate stays: the next sequence is counted from it.
        old = delete(self._table).where(
            self._table.published_at < before, self._table.position.not_in(newest)
        )

        def work(session: Session) -> int:
            done: Any = session.execute(old)
            return int(done.rowcount)

        return await self._database.write(work)

    def _read_due(self, session: Session) -> list[list[Row]]:
        table = self._table
        aggregates = session.scalars(
            select(table.aggregate_id)
            .where(table.position.in_(self._heads()))
            .where(table.next_attempt_at <= self._clock.now())
            .order_by(table.position)
            .limit(self._batch)
        ).all()
        if not aggregates:
            return []
        batches: dict[str, list[Row]] = {aggregate: [] for aggregate in aggregates}
        for row in session.scalars(self._waiting(aggregates)):
            batches[row.aggregate_id].append(row)
        for aggregate, rows in batches.items():
            if not rows:
                # Another's backlog took all the places.
                rows.extend(session.scalars(self._waiting([aggregate])))
        # They outlive their session.
        session.expunge_all()
        return [rows[: self._batch] for rows in batches.values()]

    def _waiting(self, aggregates: Sequence[str]) -> Select[Row]:
        """Select the first events of `aggregates`, as many as a batch of each would hold."""
        table = self._table
        return (
            select(table)
            .where(table.aggregate_id.in_(aggregates), *self._not_sent())
            .order_by(table.position)
            .limit(self._batch * len(aggregates))
        )

    def _heads(self) -> Select[int]:
        """Select the oldest waiting event of each aggregate: nothing overtakes it."""
        table = self._table
        oldest = select(func.min(table.position)).where(*self._not_sent())
        return oldest.group_by(table.aggregate_id)

    def _not_sent(self) -> tuple[ColumnElement[bool], ...]:
        return self._table.published_at.is_(None), self._table.refused_at.is_(None)

    async def _change(self, statement: Update) -> None:
        def work(session: Session) -> None:
            # The rows that were read are never looked at again.
            session.execute(statement, execution_options={"synchronize_session": False})

        await self._database.write(work)
