"""What is older than it may become, and doing away with it now: `parley admin retention`.

The services do the same by themselves, hour by hour, where their settings say so; this shows what
they would do, tries other numbers of days, and need not wait.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import InstrumentedAttribute

from admin.errors import AdminError, NothingThereError
from admin.installation import Installation, Keeper
from admin.schema import connected, failures_of
from services.common.audit import AuditTrail
from services.common.clock import SystemClock
from services.common.database import Database
from services.common.errors import NotFound, ParleyError
from services.common.outbox import Outbox
from services.history.adapters.store import SqlStore
from services.history.adapters.tables import ConversationRow, OutboxRow
from services.history.application import History
from services.media.adapters.catalog import SqlCatalog, older_than
from services.media.adapters.tables import RecordingRow

MOST_DAYS = 36_500
"""A hundred years; days before the calendar begins are no answer."""


@dataclass(frozen=True, slots=True)
class Due:
    """What would go of one kind.

    days: how long it is kept; 0: for ever. count: how many are older. oldest: since when the
        oldest of them is there.
    """

    what: str
    days: int
    count: int
    oldest: datetime | None


def due(installation: Installation, days: int | None = None) -> list[Due]:
    """Return what is older than the settings say; than `days`, where given.

    Raises:
        NothingThereError: there is no Parley where the settings say.
        AdminError: a database does not answer.
    """
    now = datetime.now(UTC)
    history, media = installation.keeper("history"), installation.keeper("media")
    for keeper in (history, media):
        if keeper.file is not None and not keeper.file.is_file():
            raise NothingThereError(
                f"There is no data in {keeper.file}.", "Is PARLEY_DATA_DIR the running Parley's?"
            )
    talks = installation.history.retention_days if days is None else days
    heard = installation.media.retention_days if days is None else days
    return [
        _counted(history, "conversations", talks, ConversationRow.sort_at, _old_talks(now, talks)),
        _counted(media, "recordings", heard, RecordingRow.touched_at, _old_recordings(now, heard)),
        _trails(installation, now),
    ]


def apply(installation: Installation, days: int | None = None) -> int:
    """Delete what `due` finds of conversations and recordings; return how many that were.

    Conversations go with what is known of them and their recordings, as when their learners delete
    them. A running Parley takes the files away within seconds, one that does not at its next start.

    Raises:
        AdminError: a database does not answer.
    """
    try:
        return asyncio.run(_apply(installation, days))
    except ParleyError as error:
        raise AdminError(f"Not all of it could be deleted: {error}") from error


async def _apply(installation: Installation, days: int | None) -> int:
    now = datetime.now(UTC)
    talks = installation.history.retention_days if days is None else days
    heard = installation.media.retention_days if days is None else days
    deleted = 0
    if talks:
        deleted += await _delete_talks(installation, now, talks)
    if heard:
        deleted += await _delete_recordings(installation, now, heard)
    return deleted


async def _delete_talks(installation: Installation, now: datetime, days: int) -> int:
    settings, clock = installation.history, SystemClock()
    audit = AuditTrail(settings.audit_dir, clock, settings.audit_days)
    deleted = 0
    async with Database.open(settings.database_url) as database:
        store = SqlStore(database, Outbox(OutboxRow, clock), clock)
        # The relay of a running service looks by itself, every few seconds.
        history = History(store, _nobody, audit)
        row = ConversationRow
        wanted = select(row.user_id, row.conversation_id).where(*_old_talks(now, days))
        async with database.snapshot() as session:
            found = (await session.execute(wanted.order_by(row.sort_at))).all()
        for user_id, conversation_id in found:
            # Its learner, or the service itself, may have been quicker.
            with suppress(NotFound):
                await history.expire(user_id, conversation_id)
                deleted += 1
        if deleted:
            await store.scrub()
    return deleted


async def _delete_recordings(installation: Installation, now: datetime, days: int) -> int:
    settings, clock = installation.media, SystemClock()
    audit = AuditTrail(settings.audit_dir, clock, settings.audit_days)
    async with Database.open(settings.database_url) as database:
        catalog = SqlCatalog(database, clock)
        wanted = select(RecordingRow.recording_id).where(*_old_recordings(now, days))
        async with database.snapshot() as session:
            found: Sequence[str] = (await session.scalars(wanted)).all()
        for recording_id in found:
            # Its files go with the media service's next sweep.
            await catalog.delete(recording_id)
            audit.note("recording_expired", recording_id=recording_id)
        if found:
            await catalog.scrub()
    return len(found)


def _old_talks(now: datetime, days: int) -> list[ColumnElement[bool]]:
    return [ConversationRow.deleted_at.is_(None), ConversationRow.sort_at < _before(now, days)]


def _old_recordings(now: datetime, days: int) -> list[ColumnElement[bool]]:
    return older_than(_before(now, days))


def _before(now: datetime, days: int) -> datetime:
    return now - timedelta(days=days) if days else datetime.min.replace(tzinfo=UTC)


def _counted(
    keeper: Keeper,
    what: str,
    days: int,
    since: InstrumentedAttribute[datetime],
    conditions: list[ColumnElement[bool]],
) -> Due:
    wanted = select(func.count(), func.min(since)).where(*conditions)
    with failures_of(keeper), connected(keeper.url) as connection:
        count, oldest = connection.execute(wanted).one()
    return Due(what, days, count, oldest)


def _trails(installation: Installation, now: datetime) -> Due:
    """Count the days of the trail that its writers delete when they begin a new one."""
    days = installation.history.audit_days
    old: list[Path] = []
    if days:
        first = (now.date() - timedelta(days=days)).isoformat()
        for keeper in installation.keepers:
            folder = keeper.settings.audit_dir
            old += [each for each in folder.glob("*.jsonl") if each.stem < first]
    oldest = min((each.stem for each in old), default=None)
    since = datetime.fromisoformat(oldest).replace(tzinfo=UTC) if oldest else None
    return Due("days of the trail", days, len(old), since)


def _nobody() -> None:
    """Tell nobody."""
