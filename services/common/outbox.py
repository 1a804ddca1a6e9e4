"""Events that leave the process: written with the change they tell of, sent afterwards.

    class OutboxRow(OutboxMixin, Base):
        __tablename__ = "outbox"

    outbox = Outbox(OutboxRow, clock)
    async with database.transaction() as session:
        session.add(turn)
        await outbox.append(session, OutboxEvent(aggregate_id=…, type=…, payload=…))
    relay.notify()

(In a unit of work that `Database.write` does, `outbox.put(session, event)`.)

`services.common.outbox_relay` sends them, and `services.common.outbox_backlog` is what it knows of
those that wait.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Generic, TypeVar, cast

from sqlalchemy import (
    BigInteger,
    Integer,
    LargeBinary,
    String,
    Table,
    bindparam,
    func,
    insert,
    select,
    text,
)
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, Session, mapped_column

from services.common.clock import Clock
from services.common.ids import new_id
from services.common.refusals import MOST_CHARACTERS
from services.common.timestamps import UtcDateTime


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
