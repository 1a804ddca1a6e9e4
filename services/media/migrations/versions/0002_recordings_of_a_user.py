"""Recordings of a user"""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_recordings_user", "recordings", ["user_id", "started_at", "recording_id"])
