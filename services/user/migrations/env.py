"""What Alembic runs: the user service's tables against its database."""

from services.common.migrations import run_migrations
from services.user.adapters.tables import Base

run_migrations(Base.metadata)
