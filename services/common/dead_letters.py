"""Events that their receiver refused for good: what they are, why, and sending them again.

    python -m services.conversation dead-letters list
    python -m services.conversation dead-letters replay EVENT_ID…     (or --all)

They stay in the outbox of the service that sent them, with the reason. Replayed, they wait to be
sent like any other, and a running service takes them up within seconds: do it when what the reason
tells of is mended. A service that is sent events through Redis also has what came there and was
nobody's event, which `list` shows as entries of a stream.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Generic, TypeVar

from sqlalchemy import Update, func, make_url, select, update
from sqlalchemy.orm import Session

from services.common.clock import Clock, SystemClock
from services.common.database import Database
from services.common.errors import ParleyError, Unavailable
from services.common.outbox import OutboxMixin
from services.common.settings import ServiceSettings, SettingsError

EXIT_NONE = 1
EXIT_WRONG = 2

MOST_SHOWN = 1_000
"""A terminal's worth of one service's; there is a mistake in the code when there are more."""

Row = TypeVar("Row", bound=OutboxMixin)


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """An event, or an entry of a stream, that was refused; never what it holds.

    letter_id: the event's id, or the entry's place in its stream.
    size_bytes: of its payload.
    """

    letter_id: str
    about: str
    type: str
    size_bytes: int
    refused_at: datetime | None
    reason: str


class DeadLetters(Generic[Row]):
    """The refused events of a service's outbox."""

    def __init__(self, database: Database, table: type[Row], clock: Clock) -> None:
        self._database = database
        self._table = table
        self._clock = clock

    async def refused(self) -> list[DeadLetter]:
        """Return them, oldest first: `MOST_SHOWN`, and one more where there are more.

        Raises:
            Unavailable: DATABASE_UNAVAILABLE.
        """
        table = self._table
        columns = (
            table.event_id,
            table.aggregate_id,
            table.type,
            func.length(table.payload),
            table.refused_at,
            table.refusal,
        )
        wanted = (
            select(*columns)
            .where(table.refused_at.is_not(None))
            .order_by(table.position)
            .limit(MOST_SHOWN + 1)
        )
        return await self._database.read(
            lambda session: [DeadLetter(*row) for row in session.execute(wanted)]
        )

    async def replay(self, event_ids: Sequence[str] | None) -> int:
        """Have the named ones sent again, all where None; return how many that are.

        Raises:
            Unavailable: DATABASE_UNAVAILABLE.
        """
        table = self._table
        wanted: Update = update(table).where(table.refused_at.is_not(None))
        if event_ids is not None:
            wanted = wanted.where(table.event_id.in_(event_ids))
        values = {"refused_at": None, "refusal": "", "attempts": 0}
        again = wanted.values(**values, next_attempt_at=self._clock.now())

        def work(session: Session) -> int:
            done: Any = session.execute(again, execution_options={"synchronize_session": False})
            return int(done.rowcount)

        return await self._database.write(work)


def main(
    arguments: list[str], settings_class: type[ServiceSettings], table: type[OutboxMixin]
) -> int:
    """Run `dead-letters list` or `dead-letters replay`; return the exit code."""
    service = settings_class.service
    parser = argparse.ArgumentParser(
        prog=f"python -m services.{service} dead-letters",
        description="Events that were refused for good.",
    )
    actions = parser.add_subparsers(dest="action", required=True)
    actions.add_parser("list", help="show them with their reasons")
    replaying = actions.add_parser("replay", help="send them again")
    replaying.add_argument("ids", nargs="*", metavar="ID")
    replaying.add_argument("--all", action="store_true", help="all that there are")
    chosen = parser.parse_args(arguments)
    if chosen.action == "replay" and bool(chosen.ids) == chosen.all:
        parser.error("name those to send again, or say --all")
    try:
        settings = settings_class.load()
        _check_there_is_data(settings)
        if chosen.action == "list":
            return asyncio.run(_list(settings, table))
        return asyncio.run(_replay(settings, table, None if chosen.all else chosen.ids))
    except (SettingsError, ParleyError, OSError) as error:
        print(error, file=sys.stderr)  # noqa: T201
        return EXIT_WRONG


def _check_there_is_data(settings: ServiceSettings) -> None:
    # Opening it would make some, in a folder that nobody uses.
    url = make_url(settings.database_url)
    if url.get_backend_name() == "sqlite" and not Path(str(url.database)).is_file():
        raise FileNotFoundError(
            f"No data in {url.database}: is PARLEY_DATA_DIR the running Parley's?"
        )


@asynccontextmanager
async def _opened(settings: ServiceSettings, table: type[Row]) -> AsyncIterator[DeadLetters[Row]]:
    async with Database.open(settings.database_url) as database:
        yield DeadLetters(database, table, SystemClock())


async def _list(settings: ServiceSettings, table: type[OutboxMixin]) -> int:
    async with _opened(settings, table) as letters:
        found = await letters.refused()
    entries = await entries_of(settings)
    found += entries or []
    for each in found[:MOST_SHOWN]:
        at = each.refused_at.isoformat(timespec="seconds") if each.refused_at else "-"
        print(  # noqa: T201
            f"{each.letter_id}  {each.type}  of {each.about}  {each.size_bytes} bytes  {at}\n"
            f"    {each.reason}"
        )
    if len(found) > MOST_SHOWN:
        print(f"the first {MOST_SHOWN:,} are shown; there are more")  # noqa: T201
    else:
        print(f"{len(found)} refused")  # noqa: T201
    if entries is None:
        _warn("shown")
    return 0


async def _replay(
    settings: ServiceSettings, table: type[OutboxMixin], ids: Sequence[str] | None
) -> int:
    async with _opened(settings, table) as letters:
        again = await letters.replay(ids)
    entries = await replay_entries(settings, ids)
    again += entries or 0
    print(f"{again} will be sent again")  # noqa: T201
    if entries is None:
        _warn("sent again")
    return 0 if again or ids is None else EXIT_NONE


def _warn(what: str) -> None:
    print(f"Redis does not answer: what came through it is not {what}.", file=sys.stderr)  # noqa: T201


async def entries_of(settings: ServiceSettings) -> list[DeadLetter] | None:
    """Return what came to a service through Redis and was laid aside, as `refused` does.

    None: Redis does not answer. What the service sent itself is in its database all the same.
    """
    if settings.redis_url is None:
        return []
    # Only where there is one: the package is no part of every installation.
    from services.common.redis.laid_aside import laid_aside  # noqa: PLC0415

    try:
        return await laid_aside(settings.redis_url.get_secret_value(), settings.service)
    except Unavailable:
        return None


async def replay_entries(settings: ServiceSettings, ids: Sequence[str] | None) -> int | None:
    """Have the named ones of those sent again, all where None; return how many that are.

    None: Redis does not answer.
    """
    if settings.redis_url is None:
        return 0
    from services.common.redis.laid_aside import replay  # noqa: PLC0415

    try:
        return await replay(settings.redis_url.get_secret_value(), settings.service, ids)
    except Unavailable:
        return None
