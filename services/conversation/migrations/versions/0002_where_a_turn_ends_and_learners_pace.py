"""Where a turn ends in the learner's audio, and the learners' pace"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from services.common.timestamps import UtcDateTime

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Of a turn stored before, 0: the client's audio is heard again from where it still has it.
    op.add_column(
        "turns", sa.Column("accounted_ms", sa.Integer(), nullable=False, server_default="0")
    )

    op.create_table(
        "learner_pace",
        sa.Column("user_id", sa.String(length=36), nullable=False),
        sa.Column("typical_pause_ms", sa.Integer(), nullable=False),
        sa.Column("updated_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("user_id", name="pk_learner_pace"),
    )
    op.create_index("ix_learner_pace_updated_at", "learner_pace", ["updated_at"])
