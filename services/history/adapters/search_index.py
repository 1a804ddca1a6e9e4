"""The inverted index over what was said: SQLite's FTS5, or PostgreSQL's GIN over a tsvector.

The index holds words as `services.history.search.tokens` cuts and folds them, letters and digits
only, so neither database's own idea of a word comes in. Beside a text's words stands whose it is:
a query names its owner, and so walks only that user's texts whatever others said.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection
from dataclasses import dataclass

from sqlalchemy import TextClause, bindparam, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from services.history.search import Query, tokens

_REMOVE = text("DELETE FROM search_index WHERE rowid IN :ids").bindparams(
    bindparam("ids", expanding=True)
)
_MERGE = text("INSERT INTO search_index (search_index) VALUES ('optimize')")


@dataclass(frozen=True, slots=True)
class _Dialect:
    """How a database is spoken to.

    put, find: the statements. owner: how the index names a user. document: a text's words as they
    are stored. matching: the part of an expression that is about the words.
    """

    put: TextClause
    find: TextClause
    owner: Callable[[str], str]
    document: Callable[[list[str]], str]
    matching: Callable[[Query], str]


def put(session: Session, row_id: int, user_id: str, said: str) -> None:
    """Index a text under `row_id`, which must not be in the index."""
    dialect = _dialect(session)
    words = dialect.document([token.word for token in tokens(said)])
    values = {"id": row_id, "owner": dialect.owner(user_id), "words": words}
    session.execute(dialect.put, values)


def remove(session: Session, row_ids: Collection[int]) -> None:
    """Take texts out of the index."""
    if row_ids:
        session.execute(_REMOVE, {"ids": list(row_ids)})


async def scrub(session: AsyncSession) -> None:
    """Take the words of removed texts out of the index: until then they are only marked."""
    if session.get_bind().dialect.name == "sqlite":
        # FTS5 drops them where it merges; `secure-delete` would need SQLite 3.42.
        await session.execute(_MERGE)


async def find(
    session: AsyncSession, user_id: str, query: Query, offset: int, limit: int
) -> list[int]:
    """Return the ids of the user's texts that hold every term of the query, best first."""
    dialect = _dialect(session)
    values = {
        "owner": dialect.owner(user_id),
        "words": dialect.matching(query),
        "limit": limit,
        "offset": offset,
    }
    return [int(row_id) for row_id in await session.scalars(dialect.find, values)]


def _dialect(session: AsyncSession | Session) -> _Dialect:
    return _SQLITE if session.get_bind().dialect.name == "sqlite" else _POSTGRESQL


def _fts5_terms(query: Query) -> str:
    # Words are letters and digits only (`fold` sees to that), so quoting them is safe.
    return " AND ".join('"' + " ".join(term) + '"' for term in query.terms)


# Weight 0 for the owner: that it matches says nothing of how well the words do. Among equals the
# newest first, here as there.
_SQLITE = _Dialect(
    put=text("INSERT INTO search_index (rowid, owner, words) VALUES (:id, :owner, :words)"),
    find=text(
        "SELECT rowid FROM search_index "
        "WHERE search_index MATCH 'owner : \"' || :owner || '\" AND words : (' || :words || ')' "
        "ORDER BY bm25(search_index, 0.0, 1.0), rowid DESC LIMIT :limit OFFSET :offset"
    ),
    owner=lambda user_id: "u" + user_id.replace("-", "").lower(),
    document=" ".join,
    matching=_fts5_terms,
)


def _tsvector(words: list[str]) -> str:
    places = defaultdict(list)
    for place, word in enumerate(words, 1):
        places[word].append(str(place))
    return " ".join(f"'{word}':{','.join(at)}" for word, at in places.items())


def _tsquery(query: Query) -> str:
    return " & ".join(
        "(" + " <-> ".join(f"'{word}'" for word in term) + ")" for term in query.terms
    )


# The owner is a lexeme of the same vector: one index answers both. No word can be taken for it,
# since none has a hyphen.
_POSTGRESQL = _Dialect(
    put=text(
        "INSERT INTO search_index (rowid, words) "
        "VALUES (:id, CAST(:owner AS tsvector) || CAST(:words AS tsvector))"
    ),
    find=text(
        "SELECT rowid FROM search_index "
        "WHERE words @@ (CAST(:owner AS tsquery) && CAST(:words AS tsquery)) "
        "ORDER BY ts_rank_cd(words, CAST(:words AS tsquery)) DESC, rowid DESC "
        "LIMIT :limit OFFSET :offset"
    ),
    owner=lambda user_id: f"'owner-{user_id.lower()}'",
    document=_tsvector,
    matching=_tsquery,
)
