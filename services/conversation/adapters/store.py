"""The database behind the journal, and what resuming reads from it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, cast

from sqlalchemy import Connection, Table, bindparam, delete, func, insert, or_, select, update
from sqlalchemy.orm import Session

from parley.conversation.v1 import conversation_pb2
from parley.history.v1 import history_pb2
from parley.types.v1 import turn_pb2
from services.common.clock import Clock
from services.common.database import Database
from services.common.outbox import Outbox, OutboxEvent
from services.common.timestamps import from_timestamp
from services.conversation.adapters.tables import (
    ConversationRow,
    KeptTurnRow,
    LearnerPaceRow,
    OutboxRow,
    TurnRow,
)
from services.conversation.events import KeepTurn
from services.conversation.journal import (
    ConversationBegun,
    ConversationOver,
    Entry,
    RecordingKept,
    Told,
    TurnAssessed,
    TurnFinished,
    TurnKept,
    to_event,
)

# Conversations that ended are kept this long: nobody resumes later. History has them for good, and
# a learner who deletes one there must not leave it here.
_KEEP_ENDED = timedelta(minutes=15)

# One that was never ended (its process was killed and nobody resumed) goes after this: the longest
# session and then some.
_KEEP_OPEN = timedelta(hours=3)

# Who comes back after longer than this speaks differently.
_KEEP_PACE = timedelta(days=365)

# SQLite takes so many parameters in one statement on every build.
_AT_ONCE = 500

# Whole events, of which one may be large.
_READ_AT_ONCE = 100

# The contract's bound.
MAX_TYPICAL_PAUSE_MS = 10_000

_TYPES: dict[type[Told], str] = {
    ConversationBegun: "conversation_started",
    TurnFinished: "turn_finished",
    TurnAssessed: "turn_assessed",
    RecordingKept: "recording_stored",
    ConversationOver: "conversation_ended",
}


@dataclass(frozen=True, slots=True)
class StoredConversation:
    """What is stored of a conversation that has not ended.

    accounted_ms, accounted_seq: as in `SaveTurn`, of its last turn.
    kept: the turn that was kept last while it was under way; it may have been finished since.
    """

    conversation_id: str
    user_id: str
    handle_hash: bytes
    start: conversation_pb2.StartSession
    engine: str
    voice: str
    input_rate_hz: int
    output_rate_hz: int
    recording_id: str
    started_at: datetime
    turns: tuple[turn_pb2.Turn, ...]
    accounted_ms: int
    accounted_seq: int
    kept: KeepTurn | None


class SqlStore:
    """Conversations and turns in the service's own database."""

    def __init__(self, database: Database, outbox: Outbox[OutboxRow], clock: Clock) -> None:
        self._database = database
        self._outbox = outbox
        self._clock = clock

    async def write(self, entries: Sequence[Entry]) -> None:
        """Write all of `entries` with their events, or none. See `journal.Store`."""
        await self._database.write(lambda session: self._write(session, entries))

    def _write(self, session: Session, entries: Sequence[Entry]) -> None:
        connection = session.connection()
        told = [entry.event_id for entry in entries if not isinstance(entry, TurnKept)]
        known = set(connection.scalars(_KNOWN, {"event_ids": told})) if told else set()
        for entry in entries:
            if isinstance(entry, TurnKept):
                _KEPT_TURNS.put(connection, _kept_values(entry))
            elif entry.event_id not in known and _is_wanted(connection, entry):
                _write_one(connection, entry)
                event = OutboxEvent(
                    aggregate_id=entry.conversation_id,
                    type=_TYPES[type(entry)],
                    payload=to_event(entry).SerializeToString(),
                    event_id=entry.event_id,
                )
                self._outbox.put(session, event)

    async def find_open(self, conversation_id: str) -> StoredConversation | None:
        """Return a conversation that has not ended, with its turns; None when there is none."""
        async with self._database.snapshot() as session:
            row = await session.get(ConversationRow, conversation_id)
            if row is None or row.ended_at is not None:
                return None
            found = await session.execute(
                select(TurnRow.payload, TurnRow.accounted_ms, TurnRow.accounted_seq)
                .where(TurnRow.conversation_id == conversation_id)
                .order_by(TurnRow.number)
            )
            turns = found.all()
            kept = await session.get(KeptTurnRow, conversation_id)
            return StoredConversation(
                conversation_id=row.conversation_id,
                user_id=row.user_id,
                handle_hash=row.handle_hash,
                start=conversation_pb2.StartSession.FromString(row.start),
                engine=row.engine,
                voice=row.voice,
                input_rate_hz=row.input_rate_hz,
                output_rate_hz=row.output_rate_hz,
                recording_id=row.recording_id,
                started_at=row.started_at,
                turns=tuple(turn_pb2.Turn.FromString(turn.payload) for turn in turns),
                accounted_ms=turns[-1].accounted_ms if turns else 0,
                accounted_seq=turns[-1].accounted_seq if turns else 0,
                kept=_kept_turn(kept) if kept is not None else None,
            )

    async def typical_pause_ms(self, user_id: str) -> int:
        """Return how long this learner pauses inside a turn; 0 while it is not known."""
        async with self._database.snapshot() as session:
            row = await session.get(LearnerPaceRow, user_id)
            return row.typical_pause_ms if row is not None else 0

    async def abandoned(self, before: datetime) -> list[tuple[str, str, int]]:
        """Return the open conversations that began before `before`: id, user, length in ms.

        The length is up to the end of the last turn: nobody knows of more.
        """
        async with self._database.snapshot() as session:
            rows = await session.scalars(
                select(ConversationRow).where(
                    ConversationRow.ended_at.is_(None), ConversationRow.started_at < before
                )
            )
            found = []
            for row in rows:
                last = await session.scalar(
                    select(TurnRow.payload)
                    .where(TurnRow.conversation_id == row.conversation_id)
                    .order_by(TurnRow.number.desc())
                    .limit(1)
                )
                lasted = timedelta()
                if last is not None:
                    ended_at = turn_pb2.Turn.FromString(last).ended_at
                    lasted = from_timestamp(ended_at) - row.started_at
                length_ms = max(0, round(lasted.total_seconds() * 1000))
                found.append((row.conversation_id, row.user_id, length_ms))
            return found

    async def erase_user(self, user_id: str, held: Collection[str]) -> tuple[int, int]:
        """Delete a user's conversations but those in `held` and the open ones of other processes.

        What waits to be told to history goes with them, and what history refused; also of those
        whose sessions were over for so long that nothing else is left of them. Returns how many
        conversations were deleted, and how many are left.
        """
        forgotten = await self._told_of(user_id)
        # One that nobody ended is another process's, or a killed one's, which nobody goes on with
        # after the longest session.
        open_since = self._clock.now() - _KEEP_OPEN
        async with self._database.transaction() as session:
            mine = ConversationRow.user_id == user_id
            over = or_(
                ConversationRow.ended_at.is_not(None), ConversationRow.started_at < open_since
            )
            ids = (
                await session.scalars(
                    select(ConversationRow.conversation_id).where(
                        mine, over, ConversationRow.conversation_id.not_in(held)
                    )
                )
            ).all()
            gone = sorted(forgotten.union(ids))
            for some in (gone[i : i + _AT_ONCE] for i in range(0, len(gone), _AT_ONCE)):
                await session.execute(delete(OutboxRow).where(OutboxRow.aggregate_id.in_(some)))
                await session.execute(
                    delete(ConversationRow).where(ConversationRow.conversation_id.in_(some))
                )
            await session.execute(delete(LearnerPaceRow).where(LearnerPaceRow.user_id == user_id))
            left = await session.scalar(
                select(func.count()).select_from(ConversationRow).where(mine)
            )
        await self._database.scrub()
        return len(gone), left or 0

    async def _told_of(self, user_id: str) -> set[str]:
        """Return the user's conversations that wait in the outbox, and are nowhere else any more.

        Only the events themselves say whose those are. That many wait is rare.
        """
        sessions = select(ConversationRow.conversation_id)
        waiting = (
            select(OutboxRow.position, OutboxRow.aggregate_id, OutboxRow.payload)
            .where(OutboxRow.published_at.is_(None), OutboxRow.aggregate_id.not_in(sessions))
            .order_by(OutboxRow.position)
            .limit(_READ_AT_ONCE)
        )
        found: set[str] = set()
        after = 0

        def read(session: Session) -> Sequence[tuple[int, str, bytes]]:
            some = session.execute(waiting.where(OutboxRow.position > after))
            return [(row.position, row.aggregate_id, row.payload) for row in some]

        while True:
            rows = await self._database.read(read)
            if not rows:
                return found
            for position, conversation_id, payload in rows:
                after = position
                if history_pb2.ConversationEvent.FromString(payload).user_id == user_id:
                    found.add(conversation_id)

    async def prune(self) -> None:
        """Delete what nobody can resume any more."""
        now = self._clock.now()
        async with self._database.transaction() as session:
            await session.execute(
                delete(ConversationRow).where(ConversationRow.ended_at < now - _KEEP_ENDED)
            )
            await session.execute(
                delete(ConversationRow).where(ConversationRow.started_at < now - _KEEP_OPEN)
            )
            await session.execute(
                delete(LearnerPaceRow).where(LearnerPaceRow.updated_at < now - _KEEP_PACE)
            )


class _OneRowEach:
    """A table with one row for each `key`."""

    def __init__(self, table: Table, key: str) -> None:
        self._key = key
        self._insert = insert(table)
        self._update = update(table).where(table.c[key] == bindparam("wanted"))

    def put(self, connection: Connection, values: dict[str, Any]) -> None:
        """Insert a row, or change the one that has the same key."""
        changed = dict(values)
        changed["wanted"] = changed.pop(self._key)
        if not connection.execute(self._update, changed).rowcount:
            connection.execute(self._insert, values)


# Built once: SQLAlchemy takes longer to build a statement than SQLite to execute it.
_KNOWN = select(OutboxRow.event_id).where(
    OutboxRow.event_id.in_(bindparam("event_ids", expanding=True))
)
_KEPT_TURNS = _OneRowEach(cast("Table", KeptTurnRow.__table__), "conversation_id")
_PACES = _OneRowEach(cast("Table", LearnerPaceRow.__table__), "user_id")
_IS_THERE = select(ConversationRow.conversation_id).where(
    ConversationRow.conversation_id == bindparam("wanted")
)
_INSERT_CONVERSATION = insert(cast("Table", ConversationRow.__table__))
_INSERT_TURN = insert(cast("Table", TurnRow.__table__))
_END_CONVERSATION = (
    update(cast("Table", ConversationRow.__table__))
    .where(ConversationRow.conversation_id == bindparam("ended_id"))
    .values(ended_at=bindparam("at"))
)


def _is_wanted(connection: Connection, entry: Told) -> bool:
    """Whether history is to know of it: feedback may come when its conversation is erased."""
    if not isinstance(entry, TurnAssessed):
        return True
    return connection.scalar(_IS_THERE, {"wanted": entry.conversation_id}) is not None


def _write_one(connection: Connection, entry: Told) -> None:
    match entry:
        case ConversationBegun():
            connection.execute(_INSERT_CONVERSATION, _conversation_values(entry))
        case TurnFinished():
            connection.execute(_INSERT_TURN, _turn_values(entry))
            if entry.typical_pause_ms:
                _PACES.put(connection, _pace_values(entry))
        case ConversationOver():
            connection.execute(
                _END_CONVERSATION, {"ended_id": entry.conversation_id, "at": entry.at}
            )
        case TurnAssessed() | RecordingKept():
            pass


def _kept_values(entry: TurnKept) -> dict[str, Any]:
    kept = entry.kept
    return {
        "conversation_id": entry.conversation_id,
        "payload": kept.turn.SerializeToString(),
        "accounted_ms": kept.accounted_ms,
        "accounted_seq": kept.accounted_seq,
        "typical_pause_ms": kept.typical_pause_ms,
    }


def _turn_values(entry: TurnFinished) -> dict[str, Any]:
    return {
        "turn_id": entry.turn.turn_id,
        "conversation_id": entry.conversation_id,
        "number": entry.turn.number,
        "payload": entry.turn.SerializeToString(),
        "accounted_ms": entry.accounted_ms,
        "accounted_seq": entry.accounted_seq,
    }


def _pace_values(entry: TurnFinished) -> dict[str, Any]:
    return {
        "user_id": entry.user_id,
        "typical_pause_ms": min(entry.typical_pause_ms, MAX_TYPICAL_PAUSE_MS),
        "updated_at": entry.at,
    }


def _kept_turn(row: KeptTurnRow) -> KeepTurn:
    turn = turn_pb2.Turn.FromString(row.payload)
    return KeepTurn(turn, row.accounted_ms, row.typical_pause_ms, row.accounted_seq)


def _conversation_values(entry: ConversationBegun) -> dict[str, Any]:
    return {
        "conversation_id": entry.conversation_id,
        "user_id": entry.user_id,
        "handle_hash": entry.handle_hash,
        "start": entry.start.SerializeToString(),
        "engine": entry.engine,
        "voice": entry.voice,
        "scenario_id": entry.scenario_id,
        "input_rate_hz": entry.input_rate_hz,
        "output_rate_hz": entry.output_rate_hz,
        "recording_id": entry.recording_id,
        "started_at": entry.at,
    }
