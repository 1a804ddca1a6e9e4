"""Waits between tries: they grow, they end, and they can be cut short."""

from __future__ import annotations

import asyncio

import pytest

from services.common.clock import ManualClock
from services.common.retrying import doubled, jittered, until_woken


def test_the_wait_doubles_up_to_the_most():
    assert [doubled(failures, 0.5, 3.0) for failures in (1, 2, 3, 4)] == [0.5, 1.0, 2.0, 3.0]


def test_a_day_of_failures_overflows_nothing():
    assert doubled(100_000, 0.5, 30.0) == 30.0


@pytest.mark.parametrize(("random", "share"), [(0.0, 0.5), (0.5, 0.75)])
def test_at_least_half_of_the_wait_is_waited(random: float, share: float):
    assert jittered(8.0, lambda: random) == 8.0 * share


@pytest.mark.parametrize("first", ["the time", "somebody"])
async def test_whatever_comes_first_ends_the_wait(first: str):
    clock, wake = ManualClock(), asyncio.Event()
    waiting = asyncio.create_task(until_woken(wake, clock, 5.0))
    await clock.advance(4.9)
    assert not waiting.done()
    if first == "the time":
        await clock.advance(0.2)
    else:
        wake.set()
    async with asyncio.timeout(10):
        await waiting
