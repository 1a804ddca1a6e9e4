"""Limits hold across the processes of a service, as far as their Redis is there."""

from __future__ import annotations

import pytest

from services.common.clock import SystemClock
from services.common.errors import Unavailable
from services.common.rates import Rates
from services.common.redis.connection import Redis
from services.common.redis.rates import SharedCounts
from tests.redis import empty

# One an hour: nothing leaks while a test runs.
SLOW = 1 / 3600


def process(redis: Redis, *, service: str = "user") -> tuple[SharedCounts, Rates]:
    counts = SharedCounts(redis, service, SystemClock())
    return counts, counts.make("logins", SLOW, 3)


async def exchanged(*counts: SharedCounts) -> None:
    for _ in range(2):
        for each in counts:
            await each.exchange()


async def test_what_one_process_admitted_another_counts_too(redis):
    (first, here), (second, there) = process(redis), process(redis)
    now = SystemClock().monotonic()
    assert [here.take("ann", now) for _ in range(2)] == [0, 0]
    assert there.take("ann", now) == 0
    await exchanged(first, second)
    assert there.take("ann", now) > 0
    assert there.take("bob", now) == 0


async def test_a_process_that_has_not_met_a_key_admits_one_and_then_knows(redis):
    (first, here), (second, there) = process(redis), process(redis)
    now = SystemClock().monotonic()
    for _ in range(3):
        here.count("ann", now)
    await first.exchange()
    assert there.take("ann", now) == 0
    await second.exchange()
    assert there.take("ann", now) > 0


async def test_what_is_given_back_or_forgotten_is_so_everywhere(redis):
    (first, here), (second, there) = process(redis), process(redis)
    now = SystemClock().monotonic()
    for _ in range(3):
        here.count("ann", now)
        here.count("bob", now)
    await first.exchange()
    here.give_back("ann", now)
    here.forget("bob")
    await first.exchange()
    there.count("ann", now)
    there.count("bob", now)
    await second.exchange()
    assert there.wait("ann", now) > 0, "two of three, and one more"
    assert there.wait("bob", now) == 0


async def test_other_services_count_for_themselves(redis):
    (first, here), (second, there) = process(redis), process(redis, service="history")
    now = SystemClock().monotonic()
    for _ in range(3):
        here.count("ann", now)
    there.count("ann", now)
    await exchanged(first, second)
    assert there.take("ann", now) == 0


async def test_emptied_each_process_still_knows_its_own(redis, redis_url):
    counts, rates = process(redis)
    now = SystemClock().monotonic()
    for _ in range(3):
        rates.count("ann", now)
    await counts.exchange()
    empty(redis_url)
    rates.count("bob", now)
    await counts.exchange()
    assert rates.take("ann", now) > 0


async def test_where_there_is_none_each_process_counts_alone(absent):
    counts, rates = process(absent)
    now = SystemClock().monotonic()
    assert [rates.take("ann", now) for _ in range(3)] == [0, 0, 0]
    with pytest.raises(Unavailable):
        await counts.exchange()
    assert rates.take("ann", now) > 0


async def test_redis_holds_no_names_and_forgets(redis):
    counts, rates = process(redis)
    rates.count(("ann@example.org", "192.0.2.7"), SystemClock().monotonic())
    await counts.exchange()
    (key,) = await redis.keys("*")
    assert b"ann" not in key
    assert b"192" not in key
    assert 0 < await redis.pttl(key) <= 3_601_000
