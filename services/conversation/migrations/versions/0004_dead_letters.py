"""What history refused for good, and why"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from services.common.timestamps import UtcDateTime

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("outbox", sa.Column("refused_at", UtcDateTime(), nullable=True))
    op.add_column(
        "outbox", sa.Column("refusal", sa.String(length=400), nullable=False, server_default="")
    )
