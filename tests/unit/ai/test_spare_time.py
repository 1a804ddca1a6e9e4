"""Spare time gives way, and takes no more than it can do."""

import asyncio
import os
import sys
import threading
from collections.abc import Iterator

import pytest

from services.ai.spare_time import SpareTime


@pytest.fixture
def spare() -> Iterator[SpareTime]:
    spare = SpareTime(max_waiting=1)
    yield spare
    spare.close()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has priorities of threads")
async def test_its_thread_has_the_lowest_priority_and_no_other_has(spare: SpareTime):
    def priority() -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    before = priority()
    assert await spare.run(priority) == 19
    assert priority() == before


async def test_calls_run_one_after_another_and_the_one_too_many_is_not_taken(spare: SpareTime):
    go_on = threading.Event()
    order: list[int] = []

    def call(number: int) -> int:
        go_on.wait(20)
        order.append(number)
        return number

    taken = [asyncio.create_task(spare.run(call, number)) for number in (1, 2)]
    await asyncio.sleep(0)
    assert await spare.run(call, 3) is None
    go_on.set()
    assert await asyncio.gather(*taken) == [1, 2]
    assert order == [1, 2]
    while (again := await spare.run(call, 4)) is None:
        await asyncio.sleep(0)
    assert again == 4


async def test_what_a_call_raises_is_raised_and_its_place_is_free_again(spare: SpareTime):
    def fails() -> None:
        raise ValueError("no")

    for _ in range(5):
        with pytest.raises(ValueError, match="no"):
            await spare.run(fails)
        await asyncio.sleep(0)


async def test_a_caller_who_leaves_does_not_free_the_thread(spare: SpareTime):
    started, go_on = threading.Event(), threading.Event()

    def call() -> None:
        started.set()
        go_on.wait(20)

    left = asyncio.create_task(spare.run(call))
    while not started.is_set():
        await asyncio.sleep(0)
    left.cancel()
    await asyncio.gather(left, return_exceptions=True)
    waits = asyncio.create_task(spare.run(lambda: 2))
    await asyncio.sleep(0)
    assert await spare.run(lambda: 3) is None
    go_on.set()
    assert await waits == 2
