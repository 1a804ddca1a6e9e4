"""The search index by segments of each learner's texts

A process of an earlier version that still writes beside this one puts texts into segment 0, which
no search asks: `python -m services.history recount` gives them theirs.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "search_segments",
        sa.Column(
            "segment_id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("user_id", sa.String(length=36), nullable=False),
        sa.Column("texts", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("segment_id"),
    )
    op.create_index("ix_search_segments_user", "search_segments", ["user_id", "segment_id"])
    # Not by Alembic's copy of the table: others refer to it, and the default is for good.
    op.execute("ALTER TABLE search_texts ADD COLUMN segment_id BIGINT DEFAULT 0 NOT NULL")
    _place()
    if op.get_bind().dialect.name == "sqlite":
        op.execute(
            "UPDATE search_index SET owner = "
            "(SELECT 's' || segment_id FROM search_texts WHERE id = search_index.rowid)"
        )
    else:
        op.execute(
            "UPDATE search_index SET words = ("
            "SELECT coalesce(string_agg(quote_literal(to_hex(search_texts.segment_id) || '.' "
            "|| left(lexeme, 200)) || ':' || array_to_string(positions, ','), ' '), '')::tsvector "
            "FROM unnest(search_index.words) WHERE positions IS NOT NULL"
            ") FROM search_texts WHERE search_texts.id = search_index.rowid"
        )


def _place() -> None:
    """Give each learner's texts their segments, in the order in which they were said."""
    op.execute(
        "CREATE TEMPORARY TABLE unplaced AS SELECT search_texts.id, user_id, "
        "(row_number() OVER (PARTITION BY user_id ORDER BY search_texts.id) - 1) / 1024 AS place "
        "FROM search_texts JOIN conversations "
        "ON conversations.conversation_id = search_texts.conversation_id"
    )
    op.execute(
        "INSERT INTO search_segments (user_id, texts) "
        "SELECT user_id, count(*) FROM unplaced GROUP BY user_id, place ORDER BY user_id, place"
    )
    op.execute(
        "CREATE TEMPORARY TABLE placed AS SELECT segment_id, user_id, "
        "row_number() OVER (PARTITION BY user_id ORDER BY segment_id) - 1 AS place "
        "FROM search_segments"
    )
    op.execute("CREATE UNIQUE INDEX placed_by ON placed (user_id, place)")
    op.execute("CREATE UNIQUE INDEX unplaced_by ON unplaced (id)")
    op.execute(
        "UPDATE search_texts SET segment_id = (SELECT segment_id FROM unplaced JOIN placed "
        "ON placed.user_id = unplaced.user_id AND placed.place = unplaced.place "
        "WHERE unplaced.id = search_texts.id)"
    )
    op.execute("DROP TABLE unplaced")
    op.execute("DROP TABLE placed")
