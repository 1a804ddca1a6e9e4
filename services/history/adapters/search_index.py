"""The inverted index over what was said: SQLite's FTS5.

The index holds words as `services.history.search.tokens` cuts and folds them, so FTS5's own
tokenizer has only spaces left to find. `owner` is the user's id as one word: a query names it, and
so walks only that user's texts whatever others said.
"""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import bindparam, text
from sqlalchemy.ext.asyncio import AsyncSession

from services.history.search import Query, tokens

_PUT = text("INSERT INTO search_index (rowid, owner, words) VALUES (:id, :owner, :words)")
_REMOVE = text("DELETE FROM search_index WHERE rowid IN :ids").bindparams(
    bindparam("ids", expanding=True)
)
# Weight 0 for the owner: that it matches says nothing of how well the words do. Among equals the
# newest first.
_FIND = text(
    "SELECT rowid FROM search_index WHERE search_index MATCH :expression "
    "ORDER BY bm25(search_index, 0.0, 1.0), rowid DESC LIMIT :limit OFFSET :offset"
)


async def put(session: AsyncSession, row_id: int, user_id: str, said: str) -> None:
    """Index a text under `row_id`, which must not be in the index."""
    words = " ".join(token.word for token in tokens(said))
    await session.execute(_PUT, {"id": row_id, "owner": _owner(user_id), "words": words})


async def remove(session: AsyncSession, row_ids: Collection[int]) -> None:
    """Take texts out of the index."""
    if row_ids:
        await session.execute(_REMOVE, {"ids": list(row_ids)})


async def find(
    session: AsyncSession, user_id: str, query: Query, offset: int, limit: int
) -> list[int]:
    """Return the ids of the user's texts that hold every term of the query, best first."""
    values = {"expression": _expression(user_id, query), "limit": limit, "offset": offset}
    return [int(row_id) for row_id in await session.scalars(_FIND, values)]


def _owner(user_id: str) -> str:
    return "u" + user_id.replace("-", "").lower()


def _expression(user_id: str, query: Query) -> str:
    # Words are letters and digits only (`fold` sees to that), so quoting them is safe.
    terms = " AND ".join('"' + " ".join(term) + '"' for term in query.terms)
    return f'owner : "{_owner(user_id)}" AND words : ({terms})'
