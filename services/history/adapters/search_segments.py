"""Where a text lies in the search index: a learner's texts in segments of bounded size, in order.

A question asks the newest segment first and stops where it has enough: what a word costs to find
does not grow with how often it was said, nor with what others said. A segment's number is in the
index beside its texts' words, and higher than those of all earlier ones.

Units of work that call these hold the user's claim.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from sqlalchemy import Table, bindparam, delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from services.history.adapters.tables import SearchSegmentRow

TEXTS = 1024
"""Of a full segment. Of fewer there are more to ask for a rare word, of more there is more to rank
for a frequent one."""

_ROWS = cast("Table", SearchSegmentRow.__table__)
_NEWEST = (
    select(_ROWS.c.segment_id, _ROWS.c.texts)
    .where(_ROWS.c.user_id == bindparam("whose"))
    .order_by(_ROWS.c.segment_id.desc())
    .limit(1)
)
_OF_USER = (
    select(_ROWS.c.segment_id)
    .where(_ROWS.c.user_id == bindparam("whose"))
    .order_by(_ROWS.c.segment_id.desc())
)
_INSERT = insert(_ROWS)
_COUNT = (
    update(_ROWS)
    .where(_ROWS.c.segment_id == bindparam("which"))
    .values(texts=_ROWS.c.texts + bindparam("more"))
)
_DROP_EMPTY = delete(_ROWS).where(_ROWS.c.segment_id == bindparam("which"), _ROWS.c.texts <= 0)


def take(session: Session, user_id: str, texts: int) -> int:
    """Return the segment for so many new texts of the user's, which are counted to it."""
    connection = session.connection()
    newest = connection.execute(_NEWEST, {"whose": user_id}).one_or_none()
    if newest is not None and newest.texts < TEXTS:
        connection.execute(_COUNT, {"which": newest.segment_id, "more": texts})
        return int(newest.segment_id)
    inserted = connection.execute(_INSERT, {"user_id": user_id, "texts": texts})
    assert inserted.inserted_primary_key is not None
    return int(inserted.inserted_primary_key[0])


def leave(session: Session, texts: Mapping[int, int]) -> None:
    """Say how many texts are gone from which segments; an empty one goes with them."""
    connection = session.connection()
    for segment_id, count in texts.items():
        connection.execute(_COUNT, {"which": segment_id, "more": -count})
        connection.execute(_DROP_EMPTY, {"which": segment_id})


async def of(session: AsyncSession, user_id: str) -> list[int]:
    """Return the user's segments, newest first."""
    return list(await session.scalars(_OF_USER, {"whose": user_id}))
