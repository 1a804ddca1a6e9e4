"""Alembic's entry: the tables of the media service."""

from services.common.migrations import run_migrations
from services.media.adapters.tables import Base

run_migrations(Base.metadata)
