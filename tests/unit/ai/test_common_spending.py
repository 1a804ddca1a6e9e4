"""A learner's budget holds across the processes that serve them, as far as their Redis is there."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from services.ai.adapters.redis_spending import RedisSpending
from services.ai.budgets import Budgets, Spent
from services.common.clock import SystemClock
from services.common.errors import ResourceExhausted
from services.common.redis.connection import connected
from tests.ports import free_ports
from tests.redis import empty

ANA, BEN = "ana", "ben"
DAILY = Spent(audio_s=60.0, tokens=100, characters=1_000)


class Noon(SystemClock):
    """No test runs over midnight."""

    def now(self) -> datetime:
        return datetime(2026, 11, 23, 12, tzinfo=UTC)


def process(folder: Path, common: RedisSpending | None) -> Budgets:
    return Budgets(DAILY, folder, Noon(), common)


async def test_what_one_process_served_another_counts_too(redis_url: str, tmp_path: Path):
    async with connected(redis_url) as redis:
        here, there = (process(tmp_path / name, RedisSpending(redis)) for name in "ab")
        here.add(ANA, Spent(audio_s=40.0, tokens=10))
        there.add(ANA, Spent(audio_s=19.5, characters=7))
        await here.tell()
        await there.tell()
        await there.admit(ANA)
        assert there.spent(ANA) == Spent(59.5, 10, 7)
        here.add(ANA, Spent(audio_s=0.5))
        # It counts here before anybody was told of it, and there from the next time on.
        await here.tell()
        for each in (here, there):
            with pytest.raises(ResourceExhausted) as caught:
                await each.admit(ANA)
            assert caught.value.metadata == {"budget": "audio_s"}
            await each.admit(BEN)


async def test_who_uses_a_budget_up_here_meanwhile_is_refused_there(redis_url: str, tmp_path: Path):
    async with connected(redis_url) as redis:
        here, there = (process(tmp_path / name, RedisSpending(redis)) for name in "ab")
        here.add(ANA, Spent(tokens=90))
        await here.tell()
        there.add(ANA, Spent(tokens=10))
        there.check(ANA)
        await there.tell()
        with pytest.raises(ResourceExhausted):
            there.check(ANA)


async def test_nothing_is_counted_twice_by_a_restart(redis_url: str, tmp_path: Path):
    async with connected(redis_url) as redis:
        before = process(tmp_path, RedisSpending(redis))
        before.add(ANA, Spent(tokens=60))
        await before.tell()
        after = process(tmp_path, RedisSpending(redis))
        await after.admit(ANA)
        await after.tell()
        assert after.spent(ANA) == Spent(tokens=60)


async def test_a_redis_that_was_emptied_forgives_nothing_that_was_served_here(
    redis_url: str, tmp_path: Path
):
    async with connected(redis_url) as redis:
        kept = process(tmp_path, RedisSpending(redis))
        kept.add(ANA, Spent(tokens=100))
        await kept.tell()
        empty(redis_url)
        with pytest.raises(ResourceExhausted):
            await kept.admit(ANA)


async def test_a_redis_that_is_away_leaves_each_process_its_own_count(tmp_path: Path):
    async with connected(f"redis://127.0.0.1:{free_ports(1)[0]}/0") as redis:
        kept = process(tmp_path, RedisSpending(redis))
        await kept.admit(ANA)
        kept.add(ANA, Spent(tokens=100))
        await kept.tell()
        with pytest.raises(ResourceExhausted):
            await kept.admit(ANA)


async def test_redis_is_not_told_who_it_is(redis_url: str, tmp_path: Path):
    async with connected(redis_url) as redis:
        kept = process(tmp_path, RedisSpending(redis))
        kept.add("ana@example.org", Spent(tokens=1))
        await kept.tell()
        (key,) = await redis.keys("parley:budget:*")
        assert b"ana" not in key
        assert 0 < await redis.ttl(key) <= 2 * 24 * 3600
