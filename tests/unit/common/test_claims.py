"""Two units of work about one thing run one after another; about others, side by side."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from services.common.claims import claim
from services.common.database import Database


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    async with Database.open(database_url) as opened:
        yield opened


async def test_the_second_waits_for_the_first(database: Database):
    done: list[int] = []

    async def unit(number: int) -> None:
        async with database.transaction() as session:
            await claim(session, "one", "other")
            done.append(number)
            # Whoever does not wait for the claim comes in between.
            for _ in range(5):
                await claim(session, "one")
            done.append(number)

    await asyncio.gather(*(unit(number) for number in range(3)))
    assert [done[at] == done[at + 1] for at in (0, 2, 4)] == [True] * 3


async def test_keys_in_any_order_lock_nobody_out(database: Database):
    async def unit(*keys: str) -> None:
        async with database.transaction() as session:
            await claim(session, *keys)

    pairs = [("a", "b"), ("b", "a"), ("b", "a", "a"), ("a", "b")] * 3
    async with asyncio.timeout(20):
        await asyncio.gather(*(unit(*pair) for pair in pairs))
