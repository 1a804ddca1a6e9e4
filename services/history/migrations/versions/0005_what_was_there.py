"""Practice and segments of the turns that were there before those were

Some at a time, and kept at once: others write meanwhile and wait for no more than that, and what
was broken off goes on where it was. What another is just deleting is left out.

In the search index a text's new words stand beside those by which an earlier version finds it; a
later revision, when no such process can be left, may take the old ones out.
"""

from __future__ import annotations

import struct
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from alembic import op

from services.common.migrations import kept_at_once
from services.common.timestamps import UtcDateTime

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_AT_ONCE = 200
_TEXTS = 1024
_LAST_QUARTER = int(datetime(9999, 12, 30, tzinfo=UTC).timestamp()) // 900

_CONVERSATIONS = sa.table("conversations", sa.column("conversation_id"), sa.column("user_id"))
_TURNS = sa.table(
    "turns",
    sa.column("conversation_id"),
    sa.column("turn_id"),
    sa.column("started_at", UtcDateTime()),
    sa.column("words"),
    sa.column("speech_ms"),
    sa.column("silence_ms"),
)
_MISTAKES = sa.table(
    "mistakes", sa.column("conversation_id"), sa.column("turn_id"), sa.column("kind")
)
_PRACTICE = sa.table(
    "practice",
    sa.column("conversation_id"),
    sa.column("quarter"),
    sa.column("user_id"),
    sa.column("turns"),
    sa.column("words"),
    sa.column("spoken_words"),
    sa.column("speech_ms"),
    sa.column("silences"),
    sa.column("corrections", sa.JSON()),
)
_TEXTS_SAID = sa.table(
    "search_texts", sa.column("id"), sa.column("conversation_id"), sa.column("segment_id")
)
_SEGMENTS = sa.table(
    "search_segments", sa.column("segment_id"), sa.column("user_id"), sa.column("texts")
)
_INDEX = sa.table("search_index", sa.column("rowid"))


def upgrade() -> None:
    _add_up()
    _place()


def _add_up() -> None:
    """Add up the turns of every conversation that has no practice yet."""
    after = ""
    while True:
        some = (
            op.get_bind()
            .scalars(
                sa.select(_CONVERSATIONS.c.conversation_id)
                .where(_CONVERSATIONS.c.conversation_id > after)
                .order_by(_CONVERSATIONS.c.conversation_id)
                .limit(_AT_ONCE)
            )
            .all()
        )
        if not some:
            return
        after = some[-1]
        with kept_at_once() as connection:
            rows = list(_practice(connection, _owners(connection, some)))
            if rows:
                connection.execute(sa.insert(_PRACTICE), rows)


def _owners(connection: sa.Connection, some: Collection[str]) -> dict[str, str]:
    """Return whose these are of the conversations that nobody deletes from here on."""
    known = sa.select(_PRACTICE.c.conversation_id)
    found = connection.execute(
        sa.select(_CONVERSATIONS)
        .where(
            _CONVERSATIONS.c.conversation_id.in_(some),
            _CONVERSATIONS.c.conversation_id.not_in(known),
        )
        .with_for_update(read=True, key_share=True, skip_locked=True)
    )
    return {row.conversation_id: row.user_id for row in found}


def _practice(connection: sa.Connection, owners: dict[str, str]) -> Iterator[dict[str, Any]]:
    """Add up the turns of some conversations, as the service did when this was written."""
    kinds: dict[tuple[str, str], list[int]] = defaultdict(list)
    found = connection.execute(sa.select(_MISTAKES).where(_MISTAKES.c.conversation_id.in_(owners)))
    for conversation_id, turn_id, kind in found:
        kinds[conversation_id, turn_id].append(kind)
    quarters: dict[tuple[str, int], list[Any]] = defaultdict(list)
    for turn in connection.execute(sa.select(_TURNS).where(_TURNS.c.conversation_id.in_(owners))):
        if turn.words or turn.speech_ms:
            quarter = min(max(int(turn.started_at.timestamp()) // 900, 0), _LAST_QUARTER)
            quarters[turn.conversation_id, quarter].append(turn)
    for (conversation_id, quarter), some in quarters.items():
        corrections = Counter(
            kind for turn in some for kind in kinds.get((conversation_id, turn.turn_id), ())
        )
        yield {
            "conversation_id": conversation_id,
            "quarter": quarter,
            "user_id": owners[conversation_id],
            **_added_up(some),
            "corrections": [list(each) for each in sorted(corrections.items())],
        }


def _added_up(turns: Sequence[Any]) -> dict[str, Any]:
    silences = sorted(turn.silence_ms for turn in turns if turn.silence_ms is not None)
    return {
        "turns": len(turns),
        "words": sum(turn.words for turn in turns),
        "spoken_words": sum(turn.words for turn in turns if turn.speech_ms),
        "speech_ms": sum(turn.speech_ms for turn in turns),
        "silences": struct.pack(f"<{len(silences)}I", *silences),
    }


def _place() -> None:
    """Give each learner's texts their segments, in the order in which they were said."""
    learners = sa.select(_CONVERSATIONS.c.user_id).distinct()
    for user_id in op.get_bind().scalars(learners).all():
        unplaced = (
            op.get_bind()
            .scalars(
                sa.select(_TEXTS_SAID.c.id)
                .join(
                    _CONVERSATIONS,
                    _CONVERSATIONS.c.conversation_id == _TEXTS_SAID.c.conversation_id,
                )
                .where(_CONVERSATIONS.c.user_id == user_id, _TEXTS_SAID.c.segment_id == 0)
                .order_by(_TEXTS_SAID.c.id)
            )
            .all()
        )
        for begin in range(0, len(unplaced), _TEXTS):
            with kept_at_once() as connection:
                _place_some(connection, user_id, unplaced[begin : begin + _TEXTS])


def _place_some(connection: sa.Connection, user_id: str, wanted: Sequence[int]) -> None:
    some = _free(connection, _TEXTS_SAID.c.id, wanted)
    if connection.dialect.name != "sqlite":
        # A virtual table of SQLite's knows no rowid in such a question, and nobody else writes.
        some = _free(connection, _INDEX.c.rowid, some)
    if not some:
        return
    segment = connection.scalar(
        sa.insert(_SEGMENTS)
        .values(user_id=user_id, texts=len(some))
        .returning(_SEGMENTS.c.segment_id)
    )
    connection.execute(
        sa.update(_TEXTS_SAID).where(_TEXTS_SAID.c.id.in_(some)).values(segment_id=segment)
    )
    rows: sa.BindParameter[Any] = sa.bindparam("ids", some, expanding=True)
    connection.execute(sa.text(_INDEXED[connection.dialect.name]).bindparams(rows, segment=segment))


def _free(connection: sa.Connection, column: Any, wanted: Sequence[int]) -> Sequence[int]:
    """Return those of the rows that nobody else is changing, and hold them."""
    found = sa.select(column).where(column.in_(wanted)).with_for_update(skip_locked=True)
    return connection.scalars(found).all()


_INDEXED = {
    "sqlite": "UPDATE search_index SET owner = owner || ' s' || CAST(:segment AS TEXT) "
    "WHERE rowid IN :ids",
    "postgresql": "UPDATE search_index SET words = (CAST(words AS text) || ' ' || ("
    "SELECT coalesce(string_agg(quote_literal(to_hex(CAST(:segment AS bigint)) || '.' "
    "|| left(lexeme, 200)) || ':' || array_to_string(positions, ','), ' '), '') "
    "FROM unnest(words) WHERE positions IS NOT NULL"
    ")) :: tsvector WHERE rowid IN :ids",
}
