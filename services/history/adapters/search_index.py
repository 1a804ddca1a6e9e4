"""The inverted index over what was said: SQLite's FTS5, or PostgreSQL's GIN over a tsvector.

The index holds words as `services.history.search.tokens` cuts and folds them, letters, digits and
signs only, so neither database's own idea of a word comes in. With a text's words stands its
segment (`search_segments`), and every question names segments: it meets nothing of other learners.
"""

from __future__ import annotations

import heapq
import math
import unicodedata
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import bindparam, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from services.history.adapters import search_segments
from services.history.ports import MatchPosition
from services.history.search import Query, tokens

RANKED_TOGETHER = 500
"""Matches that are put in order of how well they match before older ones come at all. More would
take longer than a reader's patience, and nobody turns so many pages."""

# A window holds at most what makes it large enough; a segment may have been filled since.
_MOST_IN_WINDOW = RANKED_TOGETHER + 2 * search_segments.TEXTS

# PostgreSQL refuses lexemes of 2 KB. Who typed more without a space looks for its beginning.
_MOST_CHARACTERS = 200

_REMOVE = text("DELETE FROM search_index WHERE rowid IN :ids").bindparams(
    bindparam("ids", expanding=True)
)
_MERGE = text("INSERT INTO search_index (search_index) VALUES ('optimize')")


@dataclass(frozen=True, slots=True)
class _Hits:
    """What matches, a row of each column: thousands of objects would cost more than to find it.

    segments: in their order, each as often as it has a match.
    """

    segments: Sequence[int]
    text_ids: Sequence[int]
    scores: Sequence[float]


def put(session: Session, row_id: int, segment: int, said: str) -> None:
    """Index a text of `segment` under `row_id`, which must not be in the index."""
    words = [token.word[:_MOST_CHARACTERS] for token in tokens(said)]
    if _on_sqlite(session):
        put = {"id": row_id, "segment": _fts5_segment(segment), "words": _fts5(" ".join(words))}
        session.execute(_PUT_FTS5, put)
    else:
        session.execute(_PUT_GIN, {"id": row_id, "words": tsvector(segment, words)})


def remove(session: Session, row_ids: Collection[int]) -> None:
    """Take texts out of the index."""
    if row_ids:
        session.execute(_REMOVE, {"ids": list(row_ids)})


async def scrub(session: AsyncSession) -> None:
    """Take the words of removed texts out of the index: until then they are only marked."""
    if _on_sqlite(session):
        # FTS5 drops them where it merges; `secure-delete` would need SQLite 3.42.
        await session.execute(_MERGE)


async def find(
    session: AsyncSession, user_id: str, query: Query, after: MatchPosition | None, limit: int
) -> list[MatchPosition]:
    """Return where the user's texts stand that hold every term of the query, best first.

    The newest `RANKED_TOGETHER` are ranked by how well they match, then as many older ones. How
    well a text matches depends on nothing but itself: whatever is said between two pages, no match
    moves from one to the other.
    """
    segments = await search_segments.of(session, user_id)
    look = _look_fts5 if _on_sqlite(session) else _look_gin
    terms = tuple(tuple(word[:_MOST_CHARACTERS] for word in term) for term in query.terms)
    found: list[MatchPosition] = []
    if after is not None:
        window = [each for each in segments if after.oldest <= each <= after.newest]
        hits = await look(session, window, terms, _MOST_IN_WINDOW)
        found = _best(hits, after.newest, after.oldest, limit, _key(after.score, after.text_id))
        segments = [each for each in segments if each < after.oldest]
    while segments and len(found) < limit:
        hits = await look(session, segments, terms, RANKED_TOGETHER + search_segments.TEXTS)
        newest, oldest = segments[0], segments[-1]
        if len(hits.segments) >= RANKED_TOGETHER + search_segments.TEXTS:
            # The oldest segment of them may have more.
            cut = hits.segments[-1]
            oldest = min((each for each in hits.segments if each > cut), default=cut)
        found += _best(hits, newest, oldest, limit - len(found))
        segments = [each for each in segments if each < oldest]
    return found


_FIRST = (-math.inf, 0)


def _best(
    hits: _Hits, newest: int, oldest: int, limit: int, after: tuple[float, int] = _FIRST
) -> list[MatchPosition]:
    """Return the best matches of these segments, after the one whose key is `after`."""
    keys = (
        _key(score, text_id)
        for segment, text_id, score in zip(hits.segments, hits.text_ids, hits.scores, strict=True)
        if segment >= oldest
    )
    best = heapq.nsmallest(limit, (key for key in keys if key > after))
    return [MatchPosition(newest, oldest, -score, -text_id) for score, text_id in best]


def _key(score: float, text_id: int) -> tuple[float, int]:
    # Among equals the newest first.
    return -score, -text_id


Terms = Sequence[Sequence[str]]


def _on_sqlite(session: AsyncSession | Session) -> bool:
    return session.get_bind().dialect.name == "sqlite"


# --- SQLite -------------------------------------------------------------------------------------

_PUT_FTS5 = text("INSERT INTO search_index (rowid, owner, words) VALUES (:id, :segment, :words)")

_FIND_FTS5 = text(
    "SELECT rowid, words FROM search_index "
    "WHERE search_index MATCH 'owner : \"' || :segment || '\" AND words : (' || :words || ')' "
    "LIMIT :limit"
)

# Of BM25: how little a word's third mention adds to its second, and how much a text's length
# takes away, which is judged by that of what people say in a turn.
_SATURATION = 1.2
_LENGTH_SHARE = 0.75
_USUAL_WORDS = 12


# Of the characters for private use, which FTS5 takes for letters and no word of ours has.
_SIGNS = 0xF0000


def _fts5(words: str) -> str:
    """Write words so that FTS5 cuts them as they are: it takes a vowel sign for a gap in one."""
    if words.isascii():
        return words
    return "".join(
        chr(_SIGNS + ord(each)) if unicodedata.category(each).startswith("M") else each
        for each in words
    )


def _fts5_segment(segment: int) -> str:
    return f"s{segment}"


async def _look_fts5(
    session: AsyncSession, segments: Sequence[int], terms: Terms, limit: int
) -> _Hits:
    """Return what there is in whole segments, in their order, until there are `limit`."""
    # Words hold nothing but letters, digits and signs (`fold` sees to that): quoting them is safe.
    terms = [[_fts5(word) for word in term] for term in terms]
    words = " AND ".join('"' + " ".join(term) + '"' for term in terms)
    places: list[int] = []
    text_ids: list[int] = []
    scores: list[float] = []
    for segment in segments:
        values = {
            "segment": _fts5_segment(segment),
            "words": words,
            "limit": limit - len(places),
        }
        for text_id, said in await session.execute(_FIND_FTS5, values):
            places.append(segment)
            text_ids.append(text_id)
            scores.append(_worth(said, terms))
        if len(places) >= limit:
            break
    return _Hits(places, text_ids, scores)


def _worth(words: str, terms: Terms) -> float:
    """Return how well an indexed text matches, by its own words alone.

    FTS5's `bm25` weighs a word by how rare it is in all that anybody said: the next text would
    give every match another rank, between two pages as well.
    """
    # Two spaces between words, so that each keeps its own where they stand side by side.
    spread = f" {words.replace(' ', '  ')} "
    length = (words.count(" ") + 1) / _USUAL_WORDS
    damping = _SATURATION * (1 - _LENGTH_SHARE + _LENGTH_SHARE * length)
    counts = (spread.count(f" {'  '.join(term)} ") for term in terms)
    return sum(count / (count + damping) for count in counts)


# --- PostgreSQL ---------------------------------------------------------------------------------

_PUT_GIN = text("INSERT INTO search_index (rowid, words) VALUES (:id, CAST(:words AS tsvector))")

# One look into the index a segment, in their order, for as long as more is wanted.
_FIND_GIN = text(
    "SELECT array_agg(segment ORDER BY place), array_agg(rowid ORDER BY place), "
    "array_agg(score ORDER BY place) FROM ("
    "SELECT segments.segment, segments.place, found.rowid, found.score "
    "FROM unnest(CAST(:segments AS bigint[]), CAST(:queries AS tsquery[])) "
    "WITH ORDINALITY AS segments (segment, query, place) "
    "CROSS JOIN LATERAL ("
    "SELECT rowid, ts_rank_cd(words, segments.query) AS score "
    "FROM search_index WHERE words @@ segments.query"
    ") AS found ORDER BY segments.place LIMIT :limit) AS hits"
)


def tsvector(segment: int, words: Sequence[str]) -> str:
    """Write a text's words, as they are cut and folded, in PostgreSQL's form of an indexed text."""
    places = defaultdict(list)
    for place, word in enumerate(words, 1):
        places[word].append(str(place))
    # No word has a period, so none of one segment is taken for one of another.
    return " ".join(f"'{segment:x}.{word}':{','.join(at)}" for word, at in places.items())


def _tsquery(segment: int, terms: Terms) -> str:
    return " & ".join(
        "(" + " <-> ".join(f"'{segment:x}.{word}'" for word in term) + ")" for term in terms
    )


async def _look_gin(
    session: AsyncSession, segments: Sequence[int], terms: Terms, limit: int
) -> _Hits:
    """Return what there is in whole segments, in their order, until there are `limit`."""
    values = {
        "segments": list(segments),
        "queries": [_tsquery(segment, terms) for segment in segments],
        "limit": limit,
    }
    (columns,) = await session.execute(_FIND_GIN, values)
    return _Hits(*(column or () for column in columns))
