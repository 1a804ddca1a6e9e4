"""First tables"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from services.common.timestamps import UtcDateTime

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "recordings",
        sa.Column("recording_id", sa.String(length=36), nullable=False),
        sa.Column("conversation_id", sa.String(length=36), nullable=False),
        sa.Column("user_id", sa.String(length=36), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("started_at", UtcDateTime(), nullable=False),
        sa.Column("touched_at", UtcDateTime(), nullable=False),
        sa.Column("duration_ms", sa.BigInteger(), nullable=False),
        sa.Column("waveform", sa.LargeBinary(), nullable=False),
        sa.Column("failure", sa.Text(), nullable=False),
        sa.Column("file_name", sa.Text(), nullable=False),
        sa.Column("delete_at", UtcDateTime(), nullable=True),
        sa.Column("deleted_at", UtcDateTime(), nullable=True),
        sa.Column("purged_at", UtcDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("recording_id"),
    )
    op.create_index("ix_recordings_conversation", "recordings", ["conversation_id"])
    op.create_index("ix_recordings_expiry", "recordings", ["delete_at"])
    op.create_index("ix_recordings_state", "recordings", ["state", "touched_at"])
    op.create_index("ix_recordings_unpurged", "recordings", ["deleted_at", "purged_at"])

    op.create_table(
        "tracks",
        sa.Column("recording_id", sa.String(length=36), nullable=False),
        sa.Column("track", sa.Integer(), nullable=False),
        sa.Column("rate_hz", sa.Integer(), nullable=False),
        sa.Column("samples", sa.BigInteger(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("peak", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["recording_id"], ["recordings.recording_id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("recording_id", "track"),
    )


def downgrade() -> None:
    op.drop_table("tracks")
    op.drop_table("recordings")
