"""Alembic's entry: the tables of the history service."""

from services.common.migrations import run_migrations
from services.history.adapters.tables import Base

run_migrations(Base.metadata)
