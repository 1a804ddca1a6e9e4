"""Events that leave the process: written with the change they tell of, sent afterwards.

    class OutboxRow(OutboxMixin, Base):
        __tablename__ = "outbox"

    outbox = Outbox(OutboxRow)
    async with database.transaction() as session:
        session.add(turn)
        await outbox.append(session, OutboxEvent(aggregate_id=…, type=…, payload=…))
    relay.notify()

(In a unit of work that `Database.write` does, `outbox.put(session, event)`.)

Delivery is at least once and in order within an aggregate; receivers drop an event id they know.
What a receiver refuses for good is laid aside, a dead letter with its reason, and those after it go
on (`services.common.dead_letters`); so is what it fails with again and again, or ends of
(`services.common.doubts`).
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Generic, TypeVar, cast

import structlog
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Integer,
    LargeBinary,
    Select,
    String,
    Table,
    Update,
    bindparam,
    delete,
    func,
    insert,
    select,
    text,
    update,
)
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, Session, mapped_column

from services.common.clock import Clock
from services.common.database import Database
from services.common.doubts import Doubts, Fault, fault_of
from services.common.errors import ParleyError
from services.common.ids import new_id
from services.common.refusals import MOST_CHARACTERS, EventsRefusedError
from services.common.timestamps import UtcDateTime

_log = structlog.get_logger(__name__)


class OutboxMixin:
    """The columns of an outbox table. Combine it with the service's declarative base.

    position: order of writing, over all aggregates; that of a deleted row may be given again.
    sequence: order within the aggregate, from 1, without gaps.
    refused_at, refusal: when and why its receiver refused it for good.
    """

    position: Mapped[int] = mapped_column(
        BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True
    )
    event_id: Mapped[str] = mapped_column(String(36), unique=True)
    aggregate_id: Mapped[str] = mapped_column(String(64), index=True)
    sequence: Mapped[int] = mapped_column(Integer)
    type: Mapped[str] = mapped_column(String(64))
    payload: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    attempts: Mapped[int] = mapped_column(Integer, default=0)
    next_attempt_at: Mapped[datetime] = mapped_column(UtcDateTime, index=True)
    published_at: Mapped[datetime | None] = mapped_column(UtcDateTime, default=None, index=True)
    refused_at: Mapped[datetime | None] = mapped_column(UtcDateTime, default=None)
    refusal: Mapped[str] = mapped_column(
        String(MOST_CHARACTERS), default="", server_default=text("''")
    )


@dataclass(frozen=True, slots=True)
class OutboxEvent:
    """One event.

    aggregate_id: the thing it tells of, such as the conversation; events of one are kept in order.
    type: what happened, such as `turn_finished`.
    payload: serialized protobuf, what the receiver is sent.
    sequence: place in the aggregate, from 1; given by `Outbox.append`.
    """

    aggregate_id: str
    type: str
    payload: bytes = field(repr=False)
    event_id: str = field(default_factory=new_id)
    sequence: int = 0


Row = TypeVar("Row", bound=OutboxMixin)


class Outbox(Generic[Row]):
    """Writes events into a service's outbox table."""

    def __init__(self, table: type[Row], clock: Clock) -> None:
        self.table = table
        self._clock = clock
        # Built once: SQLAlchemy takes longer to build a statement than SQLite to execute it.
        rows = cast("Table", table.__table__)  # type: ignore[attr-defined]
        self._last = select(func.max(rows.c.sequence)).where(
            rows.c.aggregate_id == bindparam("aggregate_id")
        )
        self._insert = insert(rows)

    async def append(self, session: AsyncSession, event: OutboxEvent) -> int:
        """Add `event` to the unit of work `session`; return its sequence in its aggregate.

        Nothing is sent before the session commits, and nothing at all if it does not. One writer
        an aggregate: two that race get the same sequence.
        """
        return await session.run_sync(self.put, event)

    def put(self, session: Session, event: OutboxEvent) -> int:
        """Do the same in a unit of work that is done in one go. See `append`."""
        connection = session.connection()
        last = connection.scalar(self._last, {"aggregate_id": event.aggregate_id})
        sequence = int(last or 0) + 1
        now = self._clock.now()
        connection.execute(
            self._insert,
            {
                "event_id": event.event_id,
                "aggregate_id": event.aggregate_id,
                "sequence": sequence,
                "type": event.type,
                "payload": event.payload,
                "created_at": now,
                "attempts": 0,
                "next_attempt_at": now,
                "refusal": "",
            },
        )
        return sequence


Publish = Callable[[Sequence[OutboxEvent]], Awaitable[None]]
"""Sends events of one aggregate, in order; returning means the receiver has stored them all.

Where the policy says `together`, of several aggregates. `EventsRefusedError` names those that it
will never store.
"""


# Often enough that the table stays near what is kept, seldom enough to cost nothing.
_PRUNE_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class RelayPolicy:
    """How the relay paces itself.

    batch: most events sent in one call.
    concurrency: most aggregates sent at once.
    together: one call takes the events of several aggregates. What it refuses is sent again an
        aggregate at a time, so that one bad event holds up only its own.
    pause_seconds: how long after sending the next look is taken, so that what is written meanwhile
        goes together. The first event after a quiet time never waits.
    poll_seconds: how often to look without being told; a crash between commit and notify costs
        at most this.
    first_backoff_seconds, max_backoff_seconds: wait after the first failure, doubled after each
        further one up to the most; the real wait is drawn from the upper half of it.
    faults: so often an event may fail its receiver in a way that nobody foresaw, or end it.
    keep_published_seconds: rows of published events, without their payload, are kept this long,
        for looking into.
    """

    batch: int = 50
    concurrency: int = 8
    together: bool = False
    pause_seconds: float = 0.0
    poll_seconds: float = 5.0
    first_backoff_seconds: float = 0.2
    max_backoff_seconds: float = 30.0
    faults: int = 5
    keep_published_seconds: float = 86_400.0


_DEFAULT_POLICY = RelayPolicy()


class OutboxRelay(Generic[Row]):
    """Sends what the outbox holds, for as long as `run` runs.

    An aggregate whose event fails waits, with all that follows it; the others go on. An event that
    is at fault itself is laid aside after some tries. Cancelling `run` is safe at any point: an
    event in flight is sent again at the next start.
    """

    def __init__(
        self,
        database: Database,
        outbox: Outbox[Row],
        publish: Publish,
        clock: Clock,
        policy: RelayPolicy = _DEFAULT_POLICY,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._database = database
        self._table = outbox.table
        self._publish = publish
        self._clock = clock
        self._policy = policy
        self._jitter = jitter
        self._wake = asyncio.Event()
        self._doubts = Doubts(policy.faults)

    def notify(self) -> None:
        """Say that an event was committed: it is sent now. Call it on the event loop."""
        self._wake.set()

    async def run(self) -> None:
        """Send events until cancelled. A database that is away is waited for."""
        failures = 0
        pruned_at = float("-inf")
        while True:
            self._wake.clear()
            try:
                sent = await self.run_once()
                if not sent and self._clock.monotonic() - pruned_at >= _PRUNE_SECONDS:
                    await self.prune()
                    pruned_at = self._clock.monotonic()
                failures = 0
                if sent and self._policy.pause_seconds:
                    await self._clock.sleep(self._policy.pause_seconds)
                # What came meanwhile is looked for at once, and so is what one round left.
                again = sent and (self._wake.is_set() or sent >= self._policy.batch)
                wait = 0.0 if again else await self._until_next()
            except ParleyError as error:
                failures += 1
                wait = self._backoff(failures)
                _log.warning("outbox_unreadable", reason=error.reason, retry_in_s=round(wait, 3))
            if wait > 0:
                await self._wait(wait)

    async def run_once(self) -> int:
        """Send one round of what is due; return how many events were sent."""
        batches = await self._due()
        if not batches:
            return 0
        sent = await self._send_undoubted([each for each in batches if not self._doubted(each)])
        # Also those that are doubted only now; what has ended the receiver before comes last.
        doubted = [each for each in batches if self._doubted(each)]
        doubted.sort(key=lambda rows: self._doubts.tries(rows[0].event_id))
        return sent + await self._send_doubted(doubted)

    def _doubted(self, rows: Sequence[Row]) -> bool:
        return rows[0].event_id in self._doubts

    async def _send_undoubted(self, batches: Sequence[Sequence[Row]]) -> int:
        if self._policy.together and len(batches) > 1:
            together = await self._send_together(batches)
            if together is not None:
                return together
        places = asyncio.Semaphore(self._policy.concurrency)

        failures: list[ParleyError] = []

        async def one(rows: Sequence[Row]) -> int:
            async with places:
                try:
                    return await self._send(rows)
                except ParleyError as error:
                    # Raised below, out of the group: `run` waits for a database that is away.
                    failures.append(error)
                    return 0

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(rows)) for rows in batches]
        if failures:
            raise failures[0]
        return sum(task.result() for task in tasks)

    async def pending(self) -> int:
        """Return how many events wait to be sent."""
        waiting = select(func.count()).where(*self._not_sent())
        return await self._database.read(lambda session: session.scalar(waiting)) or 0

    async def prune(self) -> int:
        """Delete events published longer ago than is kept; return how many."""
        before = self._clock.now() - timedelta(seconds=self._policy.keep_published_seconds)
        newest = select(func.max(self._table.position)).group_by(self._table.aggregate_id)
        # The newest row of an aggregate stays: the next sequence is counted from it.
        old = delete(self._table).where(
            self._table.published_at < before, self._table.position.not_in(newest)
        )

        def work(session: Session) -> int:
            done: Any = session.execute(old)
            return int(done.rowcount)

        return await self._database.write(work)

    async def _due(self) -> list[list[Row]]:
        """Read, for each aggregate whose oldest waiting event is due, its first events."""
        return await self._database.read(self._read_due)

    def _read_due(self, session: Session) -> list[list[Row]]:
        table = self._table
        aggregates = session.scalars(
            select(table.aggregate_id)
            .where(table.position.in_(self._heads()))
            .where(table.next_attempt_at <= self._clock.now())
            .order_by(table.position)
            .limit(self._policy.batch)
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
        return [rows[: self._policy.batch] for rows in batches.values()]

    def _waiting(self, aggregates: Sequence[str]) -> Select[Row]:
        """Select the first events of `aggregates`, as many as a batch of each would hold."""
        table = self._table
        return (
            select(table)
            .where(table.aggregate_id.in_(aggregates), *self._not_sent())
            .order_by(table.position)
            .limit(self._policy.batch * len(aggregates))
        )

    def _heads(self) -> Select[int]:
        """Select the oldest waiting event of each aggregate: nothing overtakes it."""
        table = self._table
        oldest = select(func.min(table.position)).where(*self._not_sent())
        return oldest.group_by(table.aggregate_id)

    def _not_sent(self) -> tuple[ColumnElement[bool], ...]:
        return self._table.published_at.is_(None), self._table.refused_at.is_(None)

    async def _send(self, rows: Sequence[Row]) -> int:
        try:
            await self._publish(_events(rows))
        except EventsRefusedError as error:
            return await self._sent_but(rows, error.refusals)
        except Exception as error:  # noqa: BLE001 - whatever it is, the event must be sent again
            if fault_of(error) is Fault.NOT_NOW:
                await self._failed(rows[:1], error)
            else:
                self._doubt(rows, error)
            return 0
        return await self._sent(rows)

    async def _send_together(self, batches: Sequence[Sequence[Row]]) -> int | None:
        """Send the events of several aggregates in one call; None: they are to be sent singly."""
        rows = [row for batch in batches for row in batch][: self._policy.batch]
        try:
            await self._publish(_events(rows))
        except EventsRefusedError as error:
            return await self._sent_but(rows, error.refusals)
        except Exception as error:  # noqa: BLE001 - whose fault it is, sending them singly tells
            if fault_of(error) is not Fault.NOT_NOW:
                self._doubt(rows, error)
                return 0
            _log.info("outbox_sends_singly", events=len(rows), error=_name(error))
            return None
        return await self._sent(rows)

    def _doubt(self, rows: Sequence[Row], error: Exception) -> None:
        _log.info("outbox_events_doubted", events=len(rows), error=_name(error))
        self._doubts.add(row.event_id for row in rows)

    async def _send_doubted(self, batches: Sequence[Sequence[Row]]) -> int:
        """Send doubted events one by one, with nothing beside them; return how many were sent."""
        sent = 0
        for place, rows in enumerate(batches):
            for row in rows:
                # Those behind the last that is doubted go together again.
                if row.event_id not in self._doubts:
                    break
                error = await self._send_alone(row)
                if error is None:
                    sent += 1
                    continue
                if fault_of(error) is Fault.EVENTS:
                    await self._failed([row], error)
                    break
                # The receiver is gone: what is left waits as long as this one.
                await self._failed([row, *(each[0] for each in batches[place + 1 :])], error)
                return sent
        return sent

    async def _send_alone(self, row: Row) -> Exception | None:
        """Send one event; return what it failed with, None where it is sent or laid aside."""
        try:
            await self._publish(_events([row]))
        except EventsRefusedError as error:
            await self._sent_but([row], error.refusals)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is counted
            why = self._doubts.blame(row.event_id, error)
            if not why:
                return error
            await self._sent_but([row], {row.event_id: why})
        else:
            await self._sent([row])
        return None

    async def _sent(self, rows: Sequence[Row]) -> int:
        """Mark `rows` as published; return how many they are."""
        self._doubts.settle(row.event_id for row in rows)
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
        return len(rows)

    async def _sent_but(self, rows: Sequence[Row], refusals: Mapping[str, str]) -> int:
        """Mark the refused of `rows` as dead letters and the others as published."""
        refused = [row for row in rows if row.event_id in refusals]
        for row in refused:
            _log.error(
                "outbox_event_refused",
                aggregate_id=row.aggregate_id,
                event_id=row.event_id,
                type=row.type,
                refusal=refusals[row.event_id],
            )
            await self._change(
                update(self._table)
                .where(self._table.event_id == row.event_id)
                .values(
                    refused_at=self._clock.now(),
                    refusal=refusals[row.event_id][:MOST_CHARACTERS],
                    attempts=self._table.attempts + 1,
                )
            )
        self._doubts.settle(refusals)
        sent = [row for row in rows if row.event_id not in refusals]
        if sent:
            await self._sent(sent)
        return len(rows)

    async def _change(self, statement: Update) -> None:
        def work(session: Session) -> None:
            # The rows that were read are never looked at again.
            session.execute(statement, execution_options={"synchronize_session": False})

        await self._database.write(work)

    async def _failed(self, heads: Sequence[Row], error: Exception) -> None:
        """Have these wait, for the first of them could not be sent."""
        head = heads[0]
        attempts = head.attempts + 1
        wait = self._backoff(attempts)
        if isinstance(error, ParleyError) and error.retry_after is not None:
            wait = max(wait, min(error.retry_after, self._policy.max_backoff_seconds))
        _log.warning(
            "outbox_publish_failed",
            aggregate_id=head.aggregate_id,
            event_id=head.event_id,
            attempts=attempts,
            retry_in_s=round(wait, 3),
            error=_name(error),
        )
        await self._change(
            update(self._table)
            .where(self._table.event_id.in_([each.event_id for each in heads]))
            .values(
                attempts=self._table.attempts + 1,
                next_attempt_at=self._clock.now() + timedelta(seconds=wait),
            )
        )

    async def _until_next(self) -> float:
        """Return the seconds until the next retry is due, at most the polling interval."""
        first = select(func.min(self._table.next_attempt_at)).where(
            self._table.position.in_(self._heads())
        )
        soonest = await self._database.read(lambda session: session.scalar(first))
        if soonest is None:
            return self._policy.poll_seconds
        until = (soonest - self._clock.now()).total_seconds()
        return min(max(until, 0.0), self._policy.poll_seconds)

    def _backoff(self, attempts: int) -> float:
        # The exponent is capped so that a day of failures does not overflow a float.
        doubled = self._policy.first_backoff_seconds * 2.0 ** min(attempts - 1, 20)
        most = min(doubled, self._policy.max_backoff_seconds)
        return most * (0.5 + 0.5 * self._jitter())

    async def _wait(self, seconds: float) -> None:
        """Wait for `seconds` or a notify, whichever comes first."""
        notified = asyncio.create_task(self._wake.wait())
        slept = asyncio.create_task(self._clock.sleep(seconds))
        try:
            await asyncio.wait({notified, slept}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            notified.cancel()
            slept.cancel()
            await asyncio.gather(notified, slept, return_exceptions=True)


def _name(error: Exception) -> str:
    return error.reason if isinstance(error, ParleyError) else type(error).__name__


def _events(rows: Sequence[OutboxMixin]) -> list[OutboxEvent]:
    return [
        OutboxEvent(row.aggregate_id, row.type, row.payload, row.event_id, row.sequence)
        for row in rows
    ]
