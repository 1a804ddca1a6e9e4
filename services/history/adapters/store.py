"""The store over SQL: units of work, and what each event writes."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, TypeVar, cast

from sqlalchemy import Table, bindparam, case, delete, func, insert, or_, select, update
from sqlalchemy.orm import Session

from services.common.claims import claim_in
from services.common.clock import Clock
from services.common.database import Database
from services.common.outbox import Outbox, OutboxEvent
from services.history.adapters import practice_rows, search_index, search_segments
from services.history.adapters.reader import SqlReader
from services.history.adapters.tables import (
    ConversationRow,
    ErasedUserRow,
    EventRow,
    FeedbackRow,
    MistakeRow,
    OutboxRow,
    PracticeRow,
    SearchTextRow,
    TurnRow,
)
from services.history.conversations import TurnFigures, total
from services.history.events import (
    Assessed,
    Ended,
    Envelope,
    Event,
    Ownership,
    RecordingStored,
    Started,
    TurnFinished,
    TurnPlace,
)
from services.history.ports import Reading, Writing
from services.history.practice import practice_of

T = TypeVar("T")

# Hardly ever is nothing said in the first turn, by neither side.
_SAID_AT_ONCE = 2

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

    async def write(self, work: Callable[[Writing], T]) -> T:
        """Do a unit of work. See `ports.Store`."""
        return await self._database.write(
            lambda session: work(SqlWriter(session, self._outbox, self._clock))
        )

    async def scrub(self) -> None:
        """Take what was deleted out of the files as well; it may take its time."""
        async with self._database.transaction() as session:
            await search_index.scrub(session)
        await self._database.scrub()


class SqlWriter:
    """`Writing` over one session."""

    def __init__(self, session: Session, outbox: Outbox[OutboxRow], clock: Clock) -> None:
        self._session = session
        self._outbox = outbox
        self._clock = clock

    def claim(self, ids: Collection[str]) -> None:
        """Have no other unit of work change these conversations and users until this one ends."""
        claim_in(self._session, *ids)

    def owner(self, conversation_id: str) -> Ownership | None:
        """Whose conversation it is; None when it is not known."""
        row = self._session.get(ConversationRow, conversation_id)
        return None if row is None else Ownership(row.user_id, row.deleted_at is not None)

    def some_of(self, user_id: str, limit: int) -> Sequence[str]:
        """Return the ids of some of the user's conversations that are not deleted."""
        row = ConversationRow
        return self._session.scalars(
            select(row.conversation_id)
            .where(row.user_id == user_id, row.deleted_at.is_(None))
            .limit(limit)
        ).all()

    def erased(self, user_ids: Collection[str]) -> set[str]:
        """Return those of the users whose accounts were deleted."""
        return set(self._session.connection().scalars(_ERASED, {"user_ids": list(user_ids)}))

    def note_erased(self, user_id: str) -> None:
        """Note that a user's account was deleted. Idempotent."""
        if not self.erased([user_id]):
            self._session.add(ErasedUserRow(user_id=user_id, erased_at=self._clock.now()))

    def known(self, event_ids: Collection[str]) -> dict[str, Envelope]:
        """Return those of the events that are stored already."""
        rows = self._session.connection().execute(_KNOWN, {"event_ids": list(event_ids)})
        return {row.event_id: Envelope(*row) for row in rows}

    def places(self, event: TurnFinished) -> list[TurnPlace]:
        """Return the stored turns that have the event's turn id, or its number."""
        rows = self._session.connection().execute(
            _PLACES,
            {
                "that": event.turn_id,
                "there": event.envelope.conversation_id,
                "numbered": event.number,
            },
        )
        return [TurnPlace(*row) for row in rows]

    def apply(self, event: Event) -> None:
        """Store an event that is not known. The conversation is created where it is missing."""
        envelope = event.envelope
        self._session.connection().execute(
            _INSERT_EVENT,
            {
                "event_id": envelope.event_id,
                "conversation_id": envelope.conversation_id,
                "user_id": envelope.user_id,
                "occurred_at": envelope.occurred_at,
                "kind": envelope.kind,
            },
        )
        row = self._conversation_row(event)
        match event:
            case Started():
                _started(row, event)
            case TurnFinished():
                self._turn(row, event)
            case Assessed():
                self._assessed(event)
            case RecordingStored():
                self._recording(row, event)
            case Ended():
                row.ended_at = _latest(row.ended_at, envelope.occurred_at)
        self._session.flush()

    def summarise(self, conversation_id: str) -> None:
        """Bring the conversation's totals, and the practice in it, up to date with its turns."""
        connection, of = self._session.connection(), {"of": conversation_id}
        turns = [TurnFigures(*turn) for turn in connection.execute(_FIGURES, of)]
        corrections: dict[str, dict[int, int]] = {}
        for turn_id, kind, count in connection.execute(_CORRECTIONS, of):
            corrections.setdefault(turn_id, {})[kind] = count
        totals = total(turns, self._said(conversation_id))
        row = self._session.get_one(ConversationRow, conversation_id)
        row.turns = totals.turns
        row.learner_speech_ms = totals.learner_speech_ms
        row.median_silence_ms = totals.median_silence_ms
        row.preview = totals.preview
        row.corrections = sum(sum(each.values()) for each in corrections.values())
        practice = practice_of(turns, corrections)
        practice_rows.keep(self._session, conversation_id, row.user_id, practice)

    def place_texts(self, conversation_id: str) -> None:
        """Index the conversation's texts anew; those without a segment are given one."""
        said = case((SearchTextRow.tutor, TurnRow.tutor_text), else_=TurnRow.learner_text)
        texts = self._session.execute(
            select(SearchTextRow, said)
            .join(TurnRow, TurnRow.turn_id == SearchTextRow.turn_id)
            .where(SearchTextRow.conversation_id == conversation_id)
            .order_by(SearchTextRow.id)
        ).all()
        unplaced = [side for side, _ in texts if not side.segment_id]
        if unplaced:
            owner = self._session.get_one(ConversationRow, conversation_id).user_id
            segment = search_segments.take(self._session, owner, len(unplaced))
            for side in unplaced:
                side.segment_id = segment
        search_index.remove(self._session, [side.id for side, _ in texts])
        for side, text in texts:
            search_index.put(self._session, side.id, side.segment_id, text)

    def erase(self, conversation_id: str) -> str:
        """Delete all but the mark that it was deleted; return the recording id."""
        row = self._session.get_one(ConversationRow, conversation_id)
        recording_id = row.recording_id
        texts = self._session.execute(
            select(SearchTextRow.id, SearchTextRow.segment_id).where(
                SearchTextRow.conversation_id == conversation_id
            )
        ).all()
        search_index.remove(self._session, [text_id for text_id, _ in texts])
        search_segments.leave(self._session, Counter(segment for _, segment in texts))
        for table in (SearchTextRow, PracticeRow, MistakeRow, FeedbackRow, TurnRow, EventRow):
            self._session.execute(delete(table).where(table.conversation_id == conversation_id))
        self._session.delete(row)
        self._session.flush()
        self._session.add(
            ConversationRow(
                conversation_id=conversation_id,
                user_id=row.user_id,
                sort_at=row.sort_at,
                deleted_at=self._clock.now(),
            )
        )
        return recording_id

    def request_recording_deletion(self, recording_id: str) -> None:
        """Have the recording deleted, surely, some time after the commit."""
        self._outbox.put(
            self._session,
            OutboxEvent(recording_id, RECORDING_DELETED, recording_id.encode()),
        )

    def _said(self, conversation_id: str) -> Iterator[tuple[str, str]]:
        """Yield what learner and tutor said in each turn, by number, read as it is asked for."""
        after = -1
        while True:
            place = {"of": conversation_id, "after": after}
            turns = self._session.connection().execute(_SAID, place).all()
            yield from ((turn.learner_text, turn.tutor_text) for turn in turns)
            if len(turns) < _SAID_AT_ONCE:
                return
            after = turns[-1].number

    def _conversation_row(self, event: Event) -> ConversationRow:
        """Return the event's conversation, made here if it is the first that is heard of it."""
        envelope = event.envelope
        seen_at = event.started_at if isinstance(event, TurnFinished) else envelope.occurred_at
        row = self._session.get(ConversationRow, envelope.conversation_id)
        if row is None:
            row = ConversationRow(
                conversation_id=envelope.conversation_id,
                user_id=envelope.user_id,
                sort_at=seen_at,
                started=False,
                recording_id="",
            )
            self._session.add(row)
            self._session.flush()
        elif not row.started:
            row.sort_at = min(row.sort_at, seen_at)
        return row

    def _turn(self, row: ConversationRow, event: TurnFinished) -> None:
        envelope, connection = event.envelope, self._session.connection()
        stored = connection.execute(_TURN_FROM, {"stored_id": event.turn_id}).one_or_none()
        if stored is not None and not _newer(envelope, stored.occurred_at, stored.event_id):
            return
        values = _turn_values(row.conversation_id, event)
        if stored is None:
            connection.execute(_INSERT_TURN, values)
        else:
            connection.execute(_CHANGE_TURN, {"stored_id": values.pop("turn_id"), **values})
        sides = {False: event.learner_text, True: event.tutor_text}
        if stored is None:
            self._index(row, event.turn_id, sides)
        else:
            self._index_again(row, event.turn_id, sides)

    def _index(self, row: ConversationRow, turn_id: str, sides: Mapping[bool, str]) -> None:
        """Make the sides of a turn (the tutor's under True) findable that are not so yet."""
        said = {tutor: text for tutor, text in sides.items() if text.strip()}
        if not said:
            return
        segment = search_segments.take(self._session, row.user_id, len(said))
        for tutor, text in said.items():
            values = {
                "turn_id": turn_id,
                "conversation_id": row.conversation_id,
                "tutor": tutor,
                "segment_id": segment,
            }
            inserted = self._session.connection().execute(_INSERT_SIDE, values)
            assert inserted.inserted_primary_key is not None
            search_index.put(self._session, inserted.inserted_primary_key[0], segment, text)

    def _index_again(self, row: ConversationRow, turn_id: str, sides: Mapping[bool, str]) -> None:
        """Make the sides of a turn findable that was told in other words before."""
        known = self._session.connection().execute(_SIDES_OF, {"of_turn": turn_id}).all()
        search_index.remove(self._session, [each.id for each in known])
        for each in known:
            if sides[each.tutor].strip():
                search_index.put(self._session, each.id, each.segment_id, sides[each.tutor])
        there = {each.tutor for each in known}
        new = {tutor: text for tutor, text in sides.items() if tutor not in there}
        self._index(row, turn_id, new)

    def _assessed(self, event: Assessed) -> None:
        envelope = event.envelope
        key = (envelope.conversation_id, event.turn_id)
        stored = self._session.get(FeedbackRow, key)
        if stored is None:
            stored = FeedbackRow(conversation_id=key[0], turn_id=key[1])
            self._session.add(stored)
        elif not _newer(envelope, stored.occurred_at, stored.event_id):
            return
        stored.occurred_at = envelope.occurred_at
        stored.event_id = envelope.event_id
        stored.body = event.body
        self._session.execute(
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

    def _recording(self, row: ConversationRow, event: RecordingStored) -> None:
        # One conversation has one recording. Should another come, the later one is shown, and
        # the one that nothing refers to any more is deleted.
        at = event.envelope.occurred_at
        if row.recording_id in ("", event.recording_id):
            row.recording_id, row.recording_at = event.recording_id, _latest(row.recording_at, at)
            return
        shown = (row.recording_at or at, row.recording_id)
        dropped = min(shown, (at, event.recording_id))
        row.recording_at, row.recording_id = max(shown, (at, event.recording_id))
        self.request_recording_deletion(dropped[1])


# What every turn writes. Built once: SQLAlchemy takes longer to build a statement, and to follow
# the objects that it makes of rows, than SQLite to execute it.
_TURNS = cast("Table", TurnRow.__table__)
_SIDES = cast("Table", SearchTextRow.__table__)
_EVENTS = cast("Table", EventRow.__table__)
_KNOWN = select(
    _EVENTS.c.event_id,
    _EVENTS.c.conversation_id,
    _EVENTS.c.user_id,
    _EVENTS.c.occurred_at,
    _EVENTS.c.kind,
).where(_EVENTS.c.event_id.in_(bindparam("event_ids", expanding=True)))
_ERASED = select(ErasedUserRow.user_id).where(
    ErasedUserRow.user_id.in_(bindparam("user_ids", expanding=True))
)
_PLACES = select(_TURNS.c.turn_id, _TURNS.c.conversation_id, _TURNS.c.number).where(
    or_(
        _TURNS.c.turn_id == bindparam("that"),
        (_TURNS.c.conversation_id == bindparam("there"))
        & (_TURNS.c.number == bindparam("numbered")),
    )
)
_MISTAKES = cast("Table", MistakeRow.__table__)
_FIGURES = select(
    _TURNS.c.turn_id,
    _TURNS.c.started_at,
    _TURNS.c.words,
    _TURNS.c.speech_ms,
    _TURNS.c.silence_ms,
).where(_TURNS.c.conversation_id == bindparam("of"))
_SAID = (
    select(_TURNS.c.number, _TURNS.c.learner_text, _TURNS.c.tutor_text)
    .where(_TURNS.c.conversation_id == bindparam("of"), _TURNS.c.number > bindparam("after"))
    .order_by(_TURNS.c.number)
    .limit(_SAID_AT_ONCE)
)
_CORRECTIONS = (
    select(_MISTAKES.c.turn_id, _MISTAKES.c.kind, func.count())
    .where(_MISTAKES.c.conversation_id == bindparam("of"))
    .group_by(_MISTAKES.c.turn_id, _MISTAKES.c.kind)
)
_INSERT_EVENT = insert(_EVENTS)
_TURN_FROM = select(_TURNS.c.occurred_at, _TURNS.c.event_id).where(
    _TURNS.c.turn_id == bindparam("stored_id")
)
_INSERT_TURN = insert(_TURNS)
_CHANGE_TURN = update(_TURNS).where(_TURNS.c.turn_id == bindparam("stored_id"))
_SIDES_OF = select(_SIDES.c.id, _SIDES.c.tutor, _SIDES.c.segment_id).where(
    _SIDES.c.turn_id == bindparam("of_turn")
)
_INSERT_SIDE = insert(_SIDES)


def _turn_values(conversation_id: str, event: TurnFinished) -> dict[str, Any]:
    return {
        "turn_id": event.turn_id,
        "conversation_id": conversation_id,
        "number": event.number,
        "started_at": event.started_at,
        "occurred_at": event.envelope.occurred_at,
        "event_id": event.envelope.event_id,
        "learner_text": event.learner_text,
        "tutor_text": event.tutor_text,
        "words": event.words,
        "speech_ms": event.speech_ms,
        "silence_ms": event.silence_ms,
        "body": event.body,
    }


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
