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
    with op.batch_alter_table("outbox") as outbox:
        outbox.add_column(sa.Column("refused_at", UtcDateTime(), nullable=True))
        outbox.add_column(
            sa.Column("refusal", sa.String(length=400), nullable=False, server_default="")
        )
    with op.batch_alter_table("outbox") as outbox:
        outbox.alter_column("refusal", server_default=None)
