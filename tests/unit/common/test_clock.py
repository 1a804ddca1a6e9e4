"""The manual clock wakes sleepers in order, and sleeps begun inside an advance too."""

import asyncio
from datetime import timedelta

from services.common.clock import ManualClock, SystemClock


async def test_sleepers_wake_in_the_order_of_their_times():
    clock = ManualClock()
    woken: list[tuple[float, float]] = []

    async def sleeper(seconds: float) -> None:
        await clock.sleep(seconds)
        woken.append((seconds, clock.monotonic()))

    tasks = [asyncio.create_task(sleeper(each)) for each in (3, 1, 2)]
    await clock.advance(2.5)
    assert woken == [(1, 1.0), (2, 2.0)]
    await clock.advance(1)
    await asyncio.gather(*tasks)
    assert woken[-1] == (3, 3.0)


async def test_a_loop_of_sleeps_runs_inside_one_advance():
    clock = ManualClock()
    ticks: list[float] = []

    async def ticking() -> None:
        while len(ticks) < 5:
            await clock.sleep(1)
            ticks.append(clock.monotonic())

    task = asyncio.create_task(ticking())
    await clock.advance(10)
    await task
    assert ticks == [1, 2, 3, 4, 5]


async def test_a_cancelled_sleep_is_forgotten():
    clock = ManualClock()
    task = asyncio.create_task(clock.sleep(1))
    await clock.advance(0.5)
    assert clock.sleeping == 1
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert clock.sleeping == 0
    await clock.advance(5)


def test_now_moves_with_the_clock_and_knows_its_zone():
    clock = ManualClock()
    assert clock.now().utcoffset() == timedelta(0)
    assert SystemClock().now().utcoffset() == timedelta(0)
