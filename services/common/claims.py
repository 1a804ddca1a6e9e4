"""Units of work about the same thing run one after another, on every database."""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

_CLAIM = text("SELECT pg_advisory_xact_lock(hashtextextended(:key, 0))")


def claim_in(session: Session, *keys: str) -> None:
    """Wait until no other unit of work holds one of `keys`, and hold them until this one ends.

    For units that read and then write by what they read. SQLite runs all units that write one at a
    time; a server runs them side by side, where two would both find nothing and both add it. To be
    called first in the unit, once. Keys are ids, and the same in all processes.
    """
    if session.get_bind().dialect.name == "sqlite":
        return
    # In one order, so that no two wait for each other.
    for key in sorted(set(keys)):
        session.execute(_CLAIM, {"key": key})


async def claim(session: AsyncSession, *keys: str) -> None:
    """As `claim_in`, within an asynchronous unit of work."""
    if session.get_bind().dialect.name != "sqlite":
        await session.run_sync(claim_in, *keys)
