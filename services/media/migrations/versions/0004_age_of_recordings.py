"""Age of recordings"""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # By what the settings say now; `delete_at` held what they said when a recording was stored.
    op.create_index("ix_recordings_age", "recordings", ["deleted_at", "touched_at"])
