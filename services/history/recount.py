"""`python -m services.history recount`: see `recounting`."""

from __future__ import annotations

import argparse
import asyncio
import sys

from services.common.clock import SystemClock
from services.common.database import Database
from services.common.errors import ParleyError
from services.common.outbox import Outbox
from services.common.settings import SettingsError
from services.history.adapters.store import SqlStore
from services.history.adapters.tables import OutboxRow
from services.history.recounting import recount
from services.history.settings import HistorySettings

EXIT_WRONG = 2


def main(arguments: list[str]) -> int:
    """Recount, and say of how many conversations; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m services.history recount",
        description="Add up everybody's practice anew, from the turns that there are.",
    )
    parser.parse_args(arguments)
    try:
        settings = HistorySettings.load()
        print(f"{asyncio.run(_recount(settings))} conversations recounted")  # noqa: T201
    except (SettingsError, ParleyError, OSError) as error:
        print(error, file=sys.stderr)  # noqa: T201
        return EXIT_WRONG
    return 0


async def _recount(settings: HistorySettings) -> int:
    clock = SystemClock()
    async with Database.open(settings.database_url) as database:
        return await recount(SqlStore(database, Outbox(OutboxRow, clock), clock))
