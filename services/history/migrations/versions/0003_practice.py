"""Practice by the quarter hour, added up of the turns that there are"""

from __future__ import annotations

import struct
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from alembic import op

from services.common.timestamps import UtcDateTime

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_AT_ONCE = 200
_LAST_QUARTER = int(datetime(9999, 12, 30, tzinfo=UTC).timestamp()) // 900

_PRACTICE = (
    sa.Column("conversation_id", sa.String(length=36), nullable=False),
    sa.Column("quarter", sa.Integer(), autoincrement=False, nullable=False),
    sa.Column("user_id", sa.String(length=36), nullable=False),
    sa.Column("turns", sa.Integer(), nullable=False),
    sa.Column("words", sa.Integer(), nullable=False),
    sa.Column("spoken_words", sa.Integer(), nullable=False),
    sa.Column("speech_ms", sa.BigInteger(), nullable=False),
    sa.Column("silences", sa.LargeBinary(), nullable=False),
    sa.Column("corrections", sa.JSON(), nullable=False),
)


def upgrade() -> None:
    practice = op.create_table(
        "practice",
        *_PRACTICE,
        sa.ForeignKeyConstraint(["conversation_id"], ["conversations.conversation_id"]),
        sa.PrimaryKeyConstraint("conversation_id", "quarter"),
    )
    op.create_index("ix_practice_user", "practice", ["user_id", "quarter"])
    connection = op.get_bind()
    after = ""
    while owners := _owners(connection, after):
        rows = list(_rows(connection, owners))
        if rows:
            connection.execute(sa.insert(practice), rows)
        after = max(owners)


def _owners(connection: sa.Connection, after: str) -> dict[str, str]:
    """Return whose the next conversations are."""
    conversations = sa.table("conversations", sa.column("conversation_id"), sa.column("user_id"))
    found = connection.execute(
        sa.select(conversations.c.conversation_id, conversations.c.user_id)
        .where(conversations.c.conversation_id > after)
        .order_by(conversations.c.conversation_id)
        .limit(_AT_ONCE)
    )
    return {row.conversation_id: row.user_id for row in found}


def _rows(connection: sa.Connection, owners: dict[str, str]) -> Iterator[dict[str, Any]]:
    """Add up the turns of some conversations, as the service did when this was written."""
    turns = sa.table(
        "turns",
        sa.column("conversation_id"),
        sa.column("turn_id"),
        sa.column("started_at", UtcDateTime()),
        sa.column("words"),
        sa.column("speech_ms"),
        sa.column("silence_ms"),
    )
    mistakes = sa.table(
        "mistakes", sa.column("conversation_id"), sa.column("turn_id"), sa.column("kind")
    )
    kinds: dict[tuple[str, str], list[int]] = defaultdict(list)
    found = connection.execute(sa.select(mistakes).where(mistakes.c.conversation_id.in_(owners)))
    for conversation_id, turn_id, kind in found:
        kinds[conversation_id, turn_id].append(kind)
    quarters: dict[tuple[str, int], list[Any]] = defaultdict(list)
    for turn in connection.execute(sa.select(turns).where(turns.c.conversation_id.in_(owners))):
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
