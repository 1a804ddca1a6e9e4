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
from services.common.dead_letters import (
    MOST_SHOWN,
    DeadLetter,
    DeadLetters,
    entries_of,
    replay_entries,
)
from services.common.errors import ParleyError


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter, and the service that keeps it."""

    service: str
    letter: DeadLetter


@dataclass(frozen=True, slots=True)
class Letters:
    """What is shown of the dead letters.

    cut_short: the services that have more of them. unseen: those of which what came through Redis
    is not shown, for that does not answer.
    """

    shown: Sequence[Letter]
    cut_short: Sequence[str]
    unseen: Sequence[str]


@dataclass(frozen=True, slots=True)
class Replayed:
    """How many are sent again. unseen: the services of which nothing is that came through Redis."""

    again: int
    unseen: Sequence[str]


def listed(installation: Installation) -> Letters:
    """Return the dead letters, oldest first within each service, `MOST_SHOWN` of each at most.

    Raises:
        NothingThereError: there is no Parley where the settings say.
        AdminError: a database does not answer.
    """
    shown: list[Letter] = []
    cut_short, unseen = [], []
    for keeper in _senders(installation):
        found, in_redis = _run(keeper, _list(keeper))
        if in_redis is None:
            unseen.append(keeper.name)
        found += in_redis or []
        shown += [Letter(keeper.name, each) for each in found[:MOST_SHOWN]]
        if len(found) > MOST_SHOWN:
            cut_short.append(keeper.name)
    return Letters(shown, cut_short, unseen)


def replay(installation: Installation, ids: Sequence[str] | None) -> Replayed:
    """Have the named ones sent again, all where None.

    Raises:
        NothingThereError, AdminError: as for `listed`.
    """
    total, unseen = 0, []
    for keeper in _senders(installation):
        again, in_redis = _run(keeper, _replay(keeper, ids))
        total += again + (in_redis or 0)
        if in_redis is None:
            unseen.append(keeper.name)
    return Replayed(total, unseen)


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


async def _list(keeper: Keeper) -> tuple[list[DeadLetter], list[DeadLetter] | None]:
    async with _opened(keeper) as letters:
        return await letters.refused(), await entries_of(keeper.settings)


async def _replay(keeper: Keeper, ids: Sequence[str] | None) -> tuple[int, int | None]:
    async with _opened(keeper) as letters:
        return await letters.replay(ids), await replay_entries(keeper.settings, ids)
