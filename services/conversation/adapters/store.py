"""The database behind the journal, and what resuming reads from it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import delete, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from parley.conversation.v1 import conversation_pb2
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

# The contract's bound.
MAX_TYPICAL_PAUSE_MS = 10_000

_TYPES: dict[type[Told], str] = {
    ConversationBegun: "conversation_started",
    TurnFinished: "turn_finished",
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
        async with self._database.transaction() as session:
            known = set(
                await session.scalars(
                    select(OutboxRow.event_id).where(
                        OutboxRow.event_id.in_([entry.event_id for entry in entries])
                    )
                )
            )
            for entry in entries:
                if isinstance(entry, TurnKept):
                    await session.merge(_kept_row(entry))
                elif entry.event_id not in known:
                    await self._write_one(session, entry)

    async def _write_one(self, session: AsyncSession, entry: Told) -> None:
        match entry:
            case ConversationBegun():
                session.add(_conversation_row(entry))
            case TurnFinished():
                session.add(
                    TurnRow(
                        turn_id=entry.turn.turn_id,
                        conversation_id=entry.conversation_id,
                        number=entry.turn.number,
                        payload=entry.turn.SerializeToString(),
                        accounted_ms=entry.accounted_ms,
                        accounted_seq=entry.accounted_seq,
                    )
                )
                if entry.typical_pause_ms:
                    await session.merge(
                        LearnerPaceRow(
                            user_id=entry.user_id,
                            typical_pause_ms=min(entry.typical_pause_ms, MAX_TYPICAL_PAUSE_MS),
                            updated_at=entry.at,
                        )
                    )
            case ConversationOver():
                row = await session.get(ConversationRow, entry.conversation_id)
                if row is not None:
                    row.ended_at = entry.at
            case RecordingKept():
                pass
        await self._outbox.append(
            session,
            OutboxEvent(
                aggregate_id=entry.conversation_id,
                type=_TYPES[type(entry)],
                payload=to_event(entry).SerializeToString(),
                event_id=entry.event_id,
            ),
        )

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

        What waits to be told to history goes with them. Returns how many were deleted, and how many
        are left.
        """
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
            for some in (ids[i : i + _AT_ONCE] for i in range(0, len(ids), _AT_ONCE)):
                await session.execute(delete(OutboxRow).where(OutboxRow.aggregate_id.in_(some)))
                await session.execute(
                    delete(ConversationRow).where(ConversationRow.conversation_id.in_(some))
                )
            await session.execute(delete(LearnerPaceRow).where(LearnerPaceRow.user_id == user_id))
            left = await session.scalar(
                select(func.count()).select_from(ConversationRow).where(mine)
            )
        await self._database.scrub()
        return len(ids), left or 0

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


def _kept_row(entry: TurnKept) -> KeptTurnRow:
    kept = entry.kept
    return KeptTurnRow(
        conversation_id=entry.conversation_id,
        payload=kept.turn.SerializeToString(),
        accounted_ms=kept.accounted_ms,
        accounted_seq=kept.accounted_seq,
        typical_pause_ms=kept.typical_pause_ms,
    )


def _kept_turn(row: KeptTurnRow) -> KeepTurn:
    turn = turn_pb2.Turn.FromString(row.payload)
    return KeepTurn(turn, row.accounted_ms, row.typical_pause_ms, row.accounted_seq)


def _conversation_row(entry: ConversationBegun) -> ConversationRow:
    return ConversationRow(
        conversation_id=entry.conversation_id,
        user_id=entry.user_id,
        handle_hash=entry.handle_hash,
        start=entry.start.SerializeToString(),
        engine=entry.engine,
        voice=entry.voice,
        scenario_id=entry.scenario_id,
        input_rate_hz=entry.input_rate_hz,
        output_rate_hz=entry.output_rate_hz,
        recording_id=entry.recording_id,
        started_at=entry.at,
    )
