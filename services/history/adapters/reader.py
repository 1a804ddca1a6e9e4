"""Questions to the tables."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Collection
from datetime import datetime

from sqlalchemy import Select, Subquery, case, func, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from services.history.adapters import practice_rows, search_index
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
    mistake_mark,
)
from services.history.events import Ownership
from services.history.ports import (
    ConversationFilter,
    ListPosition,
    MatchPosition,
    MistakePosition,
)
from services.history.practice import Practice
from services.history.progress import PracticeDay
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

    async def following(self, after: str, limit: int) -> list[tuple[str, str]]:
        """Return whose and which conversations, not deleted, have ids after that one, in order."""
        row = ConversationRow
        query = (
            select(row.user_id, row.conversation_id)
            .where(row.deleted_at.is_(None), row.conversation_id > after)
            .order_by(row.conversation_id)
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

    async def search(
        self, user_id: str, query: Query, after: MatchPosition | None, limit: int
    ) -> list[tuple[MatchPosition, FoundText]]:
        """Return the user's texts that hold every term of `query`, best first."""
        places = await search_index.find(self._session, user_id, query, after, limit)
        side, turn = SearchTextRow, TurnRow
        said = case((side.tutor, turn.tutor_text), else_=turn.learner_text)
        rows = await self._session.execute(
            select(
                side.id,
                turn.conversation_id,
                turn.turn_id,
                turn.number,
                turn.started_at,
                side.tutor,
                said,
            )
            .join(turn, turn.turn_id == side.turn_id)
            .where(side.id.in_([each.text_id for each in places]))
        )
        found = {text_id: FoundText(*rest) for text_id, *rest in rows}
        return [(each, found[each.text_id]) for each in places if each.text_id in found]

    async def mistakes(
        self, user_id: str, kind: int, listed: Collection[bytes], limit: int
    ) -> list[RepeatedMistake]:
        """Return the user's mistakes (`kind` 0: of all kinds), the most frequent first."""
        latest, counted = _counted_mistakes(user_id, kind)
        order = (counted.c.times.desc(), MistakeRow.occurred_at.desc(), MistakeRow.id.desc())
        return await self._unlisted(latest.order_by(*order), listed, limit)

    async def mistakes_by_key(
        self, user_id: str, kind: int, after: MistakePosition, listed: Collection[bytes], limit: int
    ) -> list[RepeatedMistake]:
        """Return the user's mistakes behind a position, in the order of their kinds and keys."""
        latest, _ = _counted_mistakes(user_id, kind, after)
        order = (MistakeRow.kind, MistakeRow.mistake_key)
        return await self._unlisted(latest.order_by(*order), listed, limit)

    async def _unlisted(
        self, query: Select[MistakeRow, int], listed: Collection[bytes], limit: int
    ) -> list[RepeatedMistake]:
        """Return the first mistakes that a query finds, less those that are listed."""
        # So many are there even if all that are listed come first.
        found = await self._session.execute(query.limit(limit + len(listed)))
        unlisted = (
            (row, times)
            for row, times in found
            if mistake_mark(row.kind, row.mistake_key) not in listed
        )
        return [
            RepeatedMistake(
                count=times,
                kind=row.kind,
                last_seen_at=row.occurred_at,
                turn_id=row.turn_id,
                conversation_id=row.conversation_id,
                key=row.mistake_key,
                correction=row.body,
            )
            for row, times in itertools.islice(unlisted, limit)
        ]

    async def practice(self, user_id: str, begin: int, end: int) -> list[Practice]:
        """Return the user's practice from the quarter `begin` to before `end`."""
        return await practice_rows.between(self._session, user_id, begin, end)

    async def practice_days(self, user_id: str) -> list[PracticeDay]:
        """Return every UTC day on which the user practised."""
        return await practice_rows.days(self._session, user_id)

    async def count(self, user_id: str) -> int:
        """Return how many conversations the user has."""
        row = ConversationRow
        query = select(func.count()).where(row.user_id == user_id, row.deleted_at.is_(None))
        return await self._session.scalar(query) or 0


def _counted_mistakes(
    user_id: str, kind: int, after: MistakePosition | None = None
) -> tuple[Select[MistakeRow, int], Subquery]:
    """Select the latest row of each of the user's mistakes, and how many rows it has.

    Returns that, in no order, and the part of it in which `times` is.
    """
    row = MistakeRow
    same = (row.kind, row.mistake_key)
    ranked = select(
        row.id,
        func.count().over(partition_by=same).label("times"),
        func.row_number()
        .over(partition_by=same, order_by=(row.occurred_at.desc(), row.id.desc()))
        .label("place"),
    ).where(row.user_id == user_id)
    if kind:
        ranked = ranked.where(row.kind == kind)
    if after is not None:
        ranked = ranked.where(tuple_(*same) > (after.kind, after.key))
    counted = ranked.subquery()
    latest = select(row, counted.c.times).join(counted, counted.c.id == row.id)
    return latest.where(counted.c.place == 1), counted


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
