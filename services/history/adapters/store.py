"""The store over SQL: units of work, and what each event writes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from datetime import datetime

from sqlalchemy import delete, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from services.common.clock import Clock
from services.common.database import Database
from services.common.outbox import Outbox, OutboxEvent
from services.history.adapters import search_index
from services.history.adapters.reader import SqlReader
from services.history.adapters.tables import (
    ConversationRow,
    EventRow,
    FeedbackRow,
    MistakeRow,
    OutboxRow,
    SearchTextRow,
    TurnRow,
)
from services.history.conversations import TurnFigures, total
from services.history.events import (
    Assessed,
    Ended,
    Envelope,
    Event,
    RecordingStored,
    Started,
    TurnFinished,
    TurnPlace,
)
from services.history.ports import Reading, Writing

RECORDING_DELETED = "recording_deleted"
"""Type of the outbox events whose payload is a recording's id."""


class SqlStore:
    """`Store` over a database."""

    def __init__(self, database: Database, outbox: Outbox[OutboxRow], clock: Clock) -> None:
        self._database = database
        self._outbox = outbox
        self._clock = clock

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Reading]:
        """Open a consistent view."""
        async with self._database.snapshot() as session:
            yield SqlReader(session)

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[Writing]:
        """Open a unit of work; it commits when the block ends and rolls back when it raises."""
        async with self._database.transaction() as session:
            yield SqlWriter(session, self._outbox, self._clock)

    async def scrub(self) -> None:
        """Take what was deleted out of the files as well; it may take its time."""
        async with self._database.transaction() as session:
            await search_index.scrub(session)
        await self._database.scrub()


class SqlWriter(SqlReader):
    """`Writing` over one session."""

    def __init__(self, session: AsyncSession, outbox: Outbox[OutboxRow], clock: Clock) -> None:
        super().__init__(session)
        self._outbox = outbox
        self._clock = clock

    async def known(self, event_ids: Collection[str]) -> dict[str, Envelope]:
        """Return those of the events that are stored already."""
        rows = await self._session.scalars(select(EventRow).where(EventRow.event_id.in_(event_ids)))
        return {
            row.event_id: Envelope(
                row.event_id, row.conversation_id, row.user_id, row.occurred_at, row.kind
            )
            for row in rows
        }

    async def places(self, event: TurnFinished) -> list[TurnPlace]:
        """Return the stored turns that have the event's turn id, or its number."""
        same_number = (TurnRow.conversation_id == event.envelope.conversation_id) & (
            TurnRow.number == event.number
        )
        rows = await self._session.execute(
            select(TurnRow.turn_id, TurnRow.conversation_id, TurnRow.number).where(
                or_(TurnRow.turn_id == event.turn_id, same_number)
            )
        )
        return [TurnPlace(*row) for row in rows]

    async def apply(self, event: Event) -> None:
        """Store an event that is not known. The conversation is created where it is missing."""
        envelope = event.envelope
        self._session.add(
            EventRow(
                event_id=envelope.event_id,
                conversation_id=envelope.conversation_id,
                user_id=envelope.user_id,
                occurred_at=envelope.occurred_at,
                kind=envelope.kind,
            )
        )
        row = await self._conversation_row(event)
        match event:
            case Started():
                _started(row, event)
            case TurnFinished():
                await self._turn(row, event)
            case Assessed():
                await self._assessed(event)
            case RecordingStored():
                await self._recording(row, event)
            case Ended():
                row.ended_at = _latest(row.ended_at, envelope.occurred_at)
        await self._session.flush()

    async def summarise(self, conversation_id: str) -> None:
        """Bring the conversation's totals up to date with its turns."""
        turns = await self._session.execute(
            select(
                TurnRow.number,
                TurnRow.learner_text,
                TurnRow.tutor_text,
                TurnRow.speech_ms,
                TurnRow.silence_ms,
            ).where(TurnRow.conversation_id == conversation_id)
        )
        totals = total([TurnFigures(*turn) for turn in turns])
        corrections = await self._session.scalar(
            select(func.count()).where(MistakeRow.conversation_id == conversation_id)
        )
        row = await self._session.get_one(ConversationRow, conversation_id)
        row.turns = totals.turns
        row.learner_speech_ms = totals.learner_speech_ms
        row.median_silence_ms = totals.median_silence_ms
        row.preview = totals.preview
        row.corrections = corrections or 0

    async def erase(self, conversation_id: str) -> str:
        """Delete all but the mark that it was deleted; return the recording id."""
        row = await self._session.get_one(ConversationRow, conversation_id)
        recording_id = row.recording_id
        texts = await self._session.scalars(
            select(SearchTextRow.id).where(SearchTextRow.conversation_id == conversation_id)
        )
        await search_index.remove(self._session, texts.all())
        for table in (SearchTextRow, MistakeRow, FeedbackRow, TurnRow, EventRow):
            await self._session.execute(
                delete(table).where(table.conversation_id == conversation_id)
            )
        await self._session.delete(row)
        await self._session.flush()
        self._session.add(
            ConversationRow(
                conversation_id=conversation_id,
                user_id=row.user_id,
                sort_at=row.sort_at,
                deleted_at=self._clock.now(),
            )
        )
        return recording_id

    async def request_recording_deletion(self, recording_id: str) -> None:
        """Have the recording deleted, surely, some time after the commit."""
        await self._outbox.append(
            self._session,
            OutboxEvent(recording_id, RECORDING_DELETED, recording_id.encode()),
        )

    async def _conversation_row(self, event: Event) -> ConversationRow:
        """Return the event's conversation, made here if it is the first that is heard of it."""
        envelope = event.envelope
        seen_at = event.started_at if isinstance(event, TurnFinished) else envelope.occurred_at
        row = await self._session.get(ConversationRow, envelope.conversation_id)
        if row is None:
            row = ConversationRow(
                conversation_id=envelope.conversation_id,
                user_id=envelope.user_id,
                sort_at=seen_at,
                started=False,
                recording_id="",
            )
            self._session.add(row)
            await self._session.flush()
        elif not row.started:
            row.sort_at = min(row.sort_at, seen_at)
        return row

    async def _turn(self, row: ConversationRow, event: TurnFinished) -> None:
        envelope = event.envelope
        stored = await self._session.get(TurnRow, event.turn_id)
        if stored is None:
            stored = TurnRow(turn_id=event.turn_id, conversation_id=row.conversation_id)
            self._session.add(stored)
        elif not _newer(envelope, stored.occurred_at, stored.event_id):
            return
        stored.number = event.number
        stored.started_at = event.started_at
        stored.occurred_at = envelope.occurred_at
        stored.event_id = envelope.event_id
        stored.learner_text = event.learner_text
        stored.tutor_text = event.tutor_text
        stored.words = event.words
        stored.speech_ms = event.speech_ms
        stored.silence_ms = event.silence_ms
        stored.body = event.body
        await self._session.flush()
        await self._index(row.user_id, stored, tutor=False, said=event.learner_text)
        await self._index(row.user_id, stored, tutor=True, said=event.tutor_text)

    async def _index(self, user_id: str, turn: TurnRow, *, tutor: bool, said: str) -> None:
        side = await self._session.scalar(
            select(SearchTextRow).where(
                SearchTextRow.turn_id == turn.turn_id, SearchTextRow.tutor.is_(tutor)
            )
        )
        if side is not None:
            await search_index.remove(self._session, [side.id])
        if not said.strip():
            return
        if side is None:
            side = SearchTextRow(
                turn_id=turn.turn_id, conversation_id=turn.conversation_id, tutor=tutor
            )
            self._session.add(side)
            await self._session.flush()
        await search_index.put(self._session, side.id, user_id, said)

    async def _assessed(self, event: Assessed) -> None:
        envelope = event.envelope
        key = (envelope.conversation_id, event.turn_id)
        stored = await self._session.get(FeedbackRow, key)
        if stored is None:
            stored = FeedbackRow(conversation_id=key[0], turn_id=key[1])
            self._session.add(stored)
        elif not _newer(envelope, stored.occurred_at, stored.event_id):
            return
        stored.occurred_at = envelope.occurred_at
        stored.event_id = envelope.event_id
        stored.body = event.body
        await self._session.execute(
            delete(MistakeRow).where(
                MistakeRow.conversation_id == key[0], MistakeRow.turn_id == key[1]
            )
        )
        self._session.add_all(
            MistakeRow(
                conversation_id=key[0],
                turn_id=key[1],
                user_id=envelope.user_id,
                kind=mistake.kind,
                mistake_key=mistake.key,
                occurred_at=envelope.occurred_at,
                body=mistake.body,
            )
            for mistake in event.mistakes
        )

    async def _recording(self, row: ConversationRow, event: RecordingStored) -> None:
        # One conversation has one recording. Should another come, the later one is shown, and
        # the one that nothing refers to any more is deleted.
        at = event.envelope.occurred_at
        if row.recording_id in ("", event.recording_id):
            row.recording_id, row.recording_at = event.recording_id, _latest(row.recording_at, at)
            return
        shown = (row.recording_at or at, row.recording_id)
        dropped = min(shown, (at, event.recording_id))
        row.recording_at, row.recording_id = max(shown, (at, event.recording_id))
        await self.request_recording_deletion(dropped[1])


def _started(row: ConversationRow, event: Started) -> None:
    if row.started and event.envelope.occurred_at >= row.sort_at:
        return
    row.started = True
    row.sort_at = event.envelope.occurred_at
    row.scenario_id = event.scenario_id
    row.scenario_title = event.scenario_title
    row.engine = event.engine
    row.voice = event.voice


def _latest(known: datetime | None, other: datetime) -> datetime:
    return other if known is None else max(known, other)


def _newer(envelope: Envelope, occurred_at: datetime, event_id: str) -> bool:
    return (envelope.occurred_at, envelope.event_id) > (occurred_at, event_id)
