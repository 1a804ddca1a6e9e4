"""Events that were refused for good, of every service: `parley admin dead-letters`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from admin.errors import AdminError, NothingThereError
from admin.installation import Installation, Keeper
from services.common.clock import SystemClock
from services.common.database import Database
from services.common.dead_letters import MOST_SHOWN, DeadLetter, DeadLetters
from services.common.errors import ParleyError


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter, and the service that keeps it."""

    service: str
    letter: DeadLetter


@dataclass(frozen=True, slots=True)
class Letters:
    """What is shown of the dead letters. cut_short: the services that have more of them."""

    shown: Sequence[Letter]
    cut_short: Sequence[str]


def listed(installation: Installation) -> Letters:
    """Return the dead letters, oldest first within each service, `MOST_SHOWN` of each at most.

    Raises:
        NothingThereError: there is no Parley where the settings say.
        AdminError: a database, or Redis, does not answer.
    """
    shown: list[Letter] = []
    cut_short = []
    for keeper in _senders(installation):
        found = _run(keeper, _list(keeper))
        shown += [Letter(keeper.name, each) for each in found[:MOST_SHOWN]]
        if len(found) > MOST_SHOWN:
            cut_short.append(keeper.name)
    return Letters(shown, cut_short)


def replay(installation: Installation, ids: Sequence[str] | None) -> int:
    """Have the named ones sent again, all where None; return how many that are.

    Raises:
        NothingThereError, AdminError: as for `listed`.
    """
    return sum(_run(keeper, _replay(keeper, ids)) for keeper in _senders(installation))


def _senders(installation: Installation) -> list[Keeper]:
    senders = [each for each in installation.keepers if each.outbox is not None]
    for keeper in senders:
        if keeper.file is not None and not keeper.file.is_file():
            # Opening it would make some, in a folder that nobody uses.
            raise NothingThereError(
                f"There is no data in {keeper.file}.", "Is PARLEY_DATA_DIR the running Parley's?"
            )
    return senders


def _run(keeper: Keeper, work: Any) -> Any:
    try:
        return asyncio.run(work)
    except ParleyError as error:
        raise AdminError(
            f"The dead letters of the {keeper.name} service cannot be had: {error}"
        ) from error


@asynccontextmanager
async def _opened(keeper: Keeper) -> AsyncIterator[DeadLetters[Any]]:
    assert keeper.outbox is not None
    async with Database.open(keeper.settings.database_url) as database:
        yield DeadLetters(database, keeper.outbox, SystemClock())


async def _list(keeper: Keeper) -> list[DeadLetter]:
    async with _opened(keeper) as letters:
        found = await letters.refused()
    url = keeper.settings.redis_url
    if url is not None:
        # Only where there is one: the package is no part of every installation.
        from services.common.redis.laid_aside import laid_aside  # noqa: PLC0415

        found += await laid_aside(url.get_secret_value(), keeper.name)
    return found


async def _replay(keeper: Keeper, ids: Sequence[str] | None) -> int:
    async with _opened(keeper) as letters:
        again = await letters.replay(ids)
    url = keeper.settings.redis_url
    if url is not None:
        from services.common.redis.laid_aside import replay as replay_entries  # noqa: PLC0415

        again += await replay_entries(url.get_secret_value(), keeper.name, ids)
    return again
