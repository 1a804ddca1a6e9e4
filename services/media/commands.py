"""What a host does with recordings from a shell, with the environment of the running Parley.

python -m services.media keys new NAME      # print a new key for PARLEY_MEDIA_SEALING_KEYS
python -m services.media keys list          # how many recordings each key opens, and in all
python -m services.media keys rewrap        # let the first key of the settings open all
python -m services.media housekeeping       # hold the store against the list of recordings now
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn
from urllib.parse import unquote, urlsplit

from services.common.clock import SystemClock
from services.common.database import Database
from services.common.errors import ParleyError
from services.common.settings import SettingsError
from services.media.adapters.inventory import SqlInventory
from services.media.adapters.rewrapping import count_by_key, rewrap
from services.media.adapters.sealing_keys import SealingKeys, new_key
from services.media.bootstrap import open_housekeeper, open_store, sealing_keys
from services.media.settings import MediaSettings

EXIT_CLOSED = 1
EXIT_WRONG = 2
EXIT_STOPPED = 130

COMMANDS = ("keys", "housekeeping")


def main(arguments: Sequence[str]) -> int:
    """Run a command; return the exit code: 1 where a recording's key was not opened."""
    parser = argparse.ArgumentParser(prog="python -m services.media")
    commands = parser.add_subparsers(dest="command", required=True)
    keys = commands.add_parser("keys", help="the keys that Parley encrypts recordings with")
    actions = keys.add_subparsers(dest="action", required=True)
    actions.add_parser("new", help="print a new key").add_argument("name")
    actions.add_parser("list", help="count the recordings that each key opens")
    actions.add_parser("rewrap", help="let the first key open all recordings; none is read")
    commands.add_parser("housekeeping", help="hold the store against the list of recordings")
    chosen = parser.parse_args(arguments)
    try:
        if chosen.command == "keys" and chosen.action == "new":
            return _new(chosen.name)
        settings = MediaSettings.load()
        _check_there_is_data(settings, listed=chosen.command == "housekeeping")
        if chosen.command == "housekeeping":
            return asyncio.run(_look(settings))
        return asyncio.run(_list(settings) if chosen.action == "list" else _rewrap(settings))
    except KeyboardInterrupt:
        return EXIT_STOPPED
    except (SettingsError, ParleyError, ValueError, OSError) as error:
        print(error, file=sys.stderr)  # noqa: T201
        return EXIT_WRONG


def end(exit_code: int) -> NoReturn:
    """End this process at once, with all that was printed.

    A thread of obstore's may still be busy with the last answer: it aborts a process that it finds
    being taken apart.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(exit_code)


def _check_there_is_data(settings: MediaSettings, *, listed: bool) -> None:
    """Refuse a folder that is not the running Parley's: opening what is missing would make it."""
    store, wanted = urlsplit(settings.effective_store_url), []
    if store.scheme == "file":
        wanted.append(Path(unquote(store.path)))
    if listed and settings.postgresql_url is None:
        wanted.append(Path(settings.database_url.partition(":///")[2]))
    for each in wanted:
        if not each.exists():
            raise FileNotFoundError(f"No data in {each}: is PARLEY_DATA_DIR the running Parley's?")


def _new(name: str) -> int:
    key = new_key(name)
    SealingKeys.parse(key)
    print(key)  # noqa: T201
    return 0


async def _list(settings: MediaSettings) -> int:
    counted = await count_by_key(open_store(settings), sealing_keys(settings))
    for name, count in sorted(counted.opened.items()):
        print(f"{name}  {count}")  # noqa: T201
    total = sum(counted.opened.values()) + len(counted.closed)
    print(f"{total} encrypted by Parley in {settings.effective_store_url}")  # noqa: T201
    return _tell_closed(counted.closed)


async def _rewrap(settings: MediaSettings) -> int:
    if settings.sealing_keys is None:
        raise ValueError("PARLEY_MEDIA_SEALING_KEYS names no key")
    done = await rewrap(open_store(settings), sealing_keys(settings))
    print(f"{done.wrapped} wrapped anew, {done.kept} already were")  # noqa: T201
    return _tell_closed(done.closed)


def _tell_closed(recordings: Sequence[str]) -> int:
    for recording in recordings:
        print(f"does not open by any key: {recording}", file=sys.stderr)  # noqa: T201
    return EXIT_CLOSED if recordings else 0


async def _look(settings: MediaSettings) -> int:
    async with Database.open(settings.database_url) as database:
        housekeeper = open_housekeeper(settings, database, open_store(settings), SystemClock())
        found = await housekeeper.look()
        listed = await SqlInventory(database).count()
    print(f"recordings  {listed}")  # noqa: T201
    for name, count in found.counts().items():
        print(f"{name}  {count}")  # noqa: T201
    return 0
