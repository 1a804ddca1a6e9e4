"""Whose accounts were deleted: what comes late of theirs is stored no more

A process of an earlier version knows nothing of this table, and goes by the conversations alone
that it deleted.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from services.common.timestamps import UtcDateTime

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "erased_users",
        sa.Column("user_id", sa.String(length=36), nullable=False),
        sa.Column("erased_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("user_id"),
    )
