"""The search index by segments of each learner's texts; 0005 places the texts that there are

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
    op.add_column(
        "search_texts",
        sa.Column("segment_id", sa.BigInteger(), nullable=False, server_default="0"),
    )
