"""The turn under way, and up to which message everything was answered"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Of a turn stored before, 0: what a client sends again of that time is answered again.
    op.add_column(
        "turns", sa.Column("accounted_seq", sa.BigInteger(), nullable=False, server_default="0")
    )

    op.create_table(
        "kept_turns",
        sa.Column("conversation_id", sa.String(length=36), nullable=False),
        sa.Column("payload", sa.LargeBinary(), nullable=False),
        sa.Column("accounted_ms", sa.Integer(), nullable=False),
        sa.Column("accounted_seq", sa.BigInteger(), nullable=False),
        sa.Column("typical_pause_ms", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["conversation_id"],
            ["conversations.conversation_id"],
            name="fk_kept_turns_conversation_id",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("conversation_id", name="pk_kept_turns"),
    )
