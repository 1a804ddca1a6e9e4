"""Deleted accounts whose traces are still being removed."""

import sqlalchemy as sa
from alembic import op

from services.common.timestamps import UtcDateTime

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "erasures",
        sa.Column("user_id", sa.String(36), nullable=False),
        sa.Column("requested_at", UtcDateTime(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_attempt_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("user_id", name="pk_erasures"),
    )
    op.create_index("ix_erasures_next_attempt_at", "erasures", ["next_attempt_at"])


def downgrade() -> None:
    op.drop_table("erasures")
