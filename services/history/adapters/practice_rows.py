"""Practice in its table: written with the turns that it adds up, read by those who ask."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import Any, cast

from sqlalchemy import Table, bindparam, delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from services.history.adapters.tables import PracticeRow
from services.history.practice import QUARTERS_A_DAY, Practice
from services.history.progress import PracticeDay

_ROWS = cast("Table", PracticeRow.__table__)
_COLUMNS = (
    _ROWS.c.quarter,
    _ROWS.c.turns,
    _ROWS.c.words,
    _ROWS.c.spoken_words,
    _ROWS.c.speech_ms,
    _ROWS.c.silences,
    _ROWS.c.corrections,
)
_OF_CONVERSATION = select(*_COLUMNS).where(_ROWS.c.conversation_id == bindparam("of"))
_INSERT = insert(_ROWS)
_CHANGE = update(_ROWS).where(
    _ROWS.c.conversation_id == bindparam("of"), _ROWS.c.quarter == bindparam("in_quarter")
)
_DROP = delete(_ROWS).where(
    _ROWS.c.conversation_id == bindparam("of"), _ROWS.c.quarter == bindparam("in_quarter")
)
_BETWEEN = select(*_COLUMNS).where(
    _ROWS.c.user_id == bindparam("whose"),
    _ROWS.c.quarter >= bindparam("begin"),
    _ROWS.c.quarter < bindparam("end"),
)
# Quarters are never negative, so that both databases divide them alike.
_UTC_DAY = (_ROWS.c.quarter - _ROWS.c.quarter % QUARTERS_A_DAY).label("utc_day")
_DAYS = (
    select(
        _UTC_DAY,
        func.min(_ROWS.c.quarter),
        func.max(_ROWS.c.quarter),
        func.sum(_ROWS.c.speech_ms),
    )
    .where(_ROWS.c.user_id == bindparam("whose"))
    .group_by(_UTC_DAY)
)


def keep(
    session: Session, conversation_id: str, user_id: str, practice: Iterable[Practice]
) -> None:
    """Have exactly `practice` stored of a conversation. What is so already is left alone."""
    connection = session.connection()
    of = {"of": conversation_id}
    stored = {row.quarter: _practice(row) for row in connection.execute(_OF_CONVERSATION, of)}
    for each in practice:
        known = stored.pop(each.quarter, None)
        if known is None:
            values = {"conversation_id": conversation_id, "user_id": user_id}
            connection.execute(_INSERT, values | _values(each))
        elif known != each:
            connection.execute(_CHANGE, of | {"in_quarter": each.quarter} | _values(each))
    for quarter in stored:
        connection.execute(_DROP, of | {"in_quarter": quarter})


async def between(session: AsyncSession, user_id: str, begin: int, end: int) -> list[Practice]:
    """Return the user's practice from the quarter `begin` to before `end`."""
    rows = await session.execute(_BETWEEN, {"whose": user_id, "begin": begin, "end": end})
    return [_practice(row) for row in rows]


async def days(session: AsyncSession, user_id: str) -> list[PracticeDay]:
    """Return every UTC day on which the user practised."""
    rows = await session.execute(_DAYS, {"whose": user_id})
    # PostgreSQL's sum of big integers is a decimal.
    return [
        PracticeDay(begin // QUARTERS_A_DAY, first, last, int(speech_ms))
        for begin, first, last, speech_ms in rows
    ]


def packed(silences_ms: Sequence[int]) -> bytes:
    """Write silences as their column holds them."""
    return struct.pack(f"<{len(silences_ms)}I", *silences_ms)


def _practice(row: Any) -> Practice:
    return Practice(
        row.quarter,
        turns=row.turns,
        words=row.words,
        spoken_words=row.spoken_words,
        speech_ms=row.speech_ms,
        silences_ms=struct.unpack(f"<{len(row.silences) // 4}I", row.silences),
        corrections=tuple((kind, count) for kind, count in row.corrections),
    )


def _values(practice: Practice) -> dict[str, Any]:
    return {
        "quarter": practice.quarter,
        "turns": practice.turns,
        "words": practice.words,
        "spoken_words": practice.spoken_words,
        "speech_ms": practice.speech_ms,
        "silences": packed(practice.silences_ms),
        "corrections": [list(each) for each in practice.corrections],
    }
