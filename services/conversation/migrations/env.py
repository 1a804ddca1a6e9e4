"""Alembic's entry: the tables of the conversation service."""

from services.common.migrations import run_migrations
from services.conversation.adapters.tables import Base

run_migrations(Base.metadata)
