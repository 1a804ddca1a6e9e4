"""Questions to the tables."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime

from sqlalchemy import func, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from services.history.adapters import search_index
from services.history.adapters.tables import (
    ConversationRow,
    FeedbackRow,
    MistakeRow,
    SearchTextRow,
    TurnRow,
)
from services.history.conversations import (
    Conversation,
    FoundText,
    RepeatedMistake,
    Totals,
    TurnBody,
)
from services.history.events import Ownership
from services.history.ports import ConversationFilter, ListPosition
from services.history.search import Query

# Turns read ahead of what a page took: they may be large, and the page may end early.
_TURNS_AT_ONCE = 20


class SqlReader:
    """`Reading` over one session."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def owner(self, conversation_id: str) -> Ownership | None:
        """Whose conversation it is; None when it is not known."""
        row = await self._session.get(ConversationRow, conversation_id)
        return None if row is None else Ownership(row.user_id, row.deleted_at is not None)

    async def conversation(self, conversation_id: str) -> Conversation | None:
        """Return a conversation that is not deleted."""
        row = await self._session.get(ConversationRow, conversation_id)
        return None if row is None or row.deleted_at is not None else _conversation(row)

    async def conversations(
        self, wanted: ConversationFilter, after: ListPosition | None, limit: int
    ) -> list[Conversation]:
        """Return conversations, newest first."""
        row = ConversationRow
        query = select(row).where(row.user_id == wanted.user_id, row.deleted_at.is_(None))
        if wanted.scenario_id:
            query = query.where(row.scenario_id == wanted.scenario_id)
        if wanted.since is not None:
            query = query.where(row.sort_at >= wanted.since)
        if wanted.before is not None:
            query = query.where(row.sort_at < wanted.before)
        if after is not None:
            position = tuple_(row.sort_at, row.conversation_id)
            query = query.where(position < (after.started_at, after.conversation_id))
        query = query.order_by(row.sort_at.desc(), row.conversation_id.desc()).limit(limit)
        return [_conversation(found) for found in await self._session.scalars(query)]

    async def older_than(self, before: datetime, limit: int) -> list[tuple[str, str]]:
        """Return whose and which conversations, not deleted, began before then, oldest first."""
        row = ConversationRow
        query = (
            select(row.user_id, row.conversation_id)
            .where(row.deleted_at.is_(None), row.sort_at < before)
            .order_by(row.sort_at)
            .limit(limit)
        )
        return [(user_id, found) for user_id, found in await self._session.execute(query)]

    async def turns(self, conversation_id: str, after_number: int) -> AsyncIterator[TurnBody]:
        """Yield the turns of a conversation by number, beginning after `after_number`."""
        while True:
            query = (
                select(TurnRow.number, TurnRow.body, FeedbackRow.body)
                .outerjoin(
                    FeedbackRow,
                    (FeedbackRow.turn_id == TurnRow.turn_id)
                    & (FeedbackRow.conversation_id == TurnRow.conversation_id),
                )
                .where(TurnRow.conversation_id == conversation_id, TurnRow.number > after_number)
                .order_by(TurnRow.number)
                .limit(_TURNS_AT_ONCE)
            )
            rows = (await self._session.execute(query)).all()
            for number, turn, feedback in rows:
                yield TurnBody(number, turn, feedback)
                after_number = number
            if len(rows) < _TURNS_AT_ONCE:
                return

    async def search(self, user_id: str, query: Query, offset: int, limit: int) -> list[FoundText]:
        """Return the user's texts that hold every term of `query`, best first."""
        ids = await search_index.find(self._session, user_id, query, offset, limit)
        rows = await self._session.execute(
            select(SearchTextRow, TurnRow)
            .join(TurnRow, TurnRow.turn_id == SearchTextRow.turn_id)
            .where(SearchTextRow.id.in_(ids))
        )
        found = {side.id: _found(side, turn) for side, turn in rows}
        return [found[each] for each in ids if each in found]

    async def mistakes(
        self, user_id: str, kind: int, offset: int, limit: int
    ) -> list[RepeatedMistake]:
        """Return the user's mistakes (`kind` 0: of all kinds), the most frequent first."""
        row = MistakeRow
        same = (row.kind, row.mistake_key)
        latest_first = (row.occurred_at.desc(), row.id.desc())
        ranked = select(
            row.id,
            func.count().over(partition_by=same).label("times"),
            func.row_number().over(partition_by=same, order_by=latest_first).label("place"),
        ).where(row.user_id == user_id)
        if kind:
            ranked = ranked.where(row.kind == kind)
        counted = ranked.subquery()
        rows = await self._session.execute(
            select(row, counted.c.times)
            .join(counted, counted.c.id == row.id)
            .where(counted.c.place == 1)
            .order_by(counted.c.times.desc(), *latest_first)
            .limit(limit)
            .offset(offset)
        )
        return [
            RepeatedMistake(
                count=times,
                kind=found.kind,
                last_seen_at=found.occurred_at,
                turn_id=found.turn_id,
                conversation_id=found.conversation_id,
                key=found.mistake_key,
                correction=found.body,
            )
            for found, times in rows
        ]


def _conversation(row: ConversationRow) -> Conversation:
    return Conversation(
        conversation_id=row.conversation_id,
        user_id=row.user_id,
        scenario_id=row.scenario_id,
        scenario_title=row.scenario_title,
        engine=row.engine,
        started_at=row.sort_at,
        ended_at=row.ended_at,
        recording_id=row.recording_id,
        totals=Totals(row.turns, row.learner_speech_ms, row.median_silence_ms, row.preview),
        corrections=row.corrections,
    )


def _found(side: SearchTextRow, turn: TurnRow) -> FoundText:
    return FoundText(
        conversation_id=turn.conversation_id,
        turn_id=turn.turn_id,
        number=turn.number,
        started_at=turn.started_at,
        tutor=side.tutor,
        text=turn.tutor_text if side.tutor else turn.learner_text,
    )
