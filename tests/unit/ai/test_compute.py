"""The bounded pool of the speech models."""

import asyncio
import threading

import pytest

from services.ai.capabilities import ProviderBusyError
from services.ai.compute import ComputePool


@pytest.fixture
def pool():
    pool = ComputePool(size=1, max_waiting=1)
    yield pool
    pool.close()


async def test_work_beyond_the_queue_is_refused_at_once(pool: ComputePool):
    go = threading.Event()
    running = asyncio.create_task(pool.run(go.wait, 10))
    waiting = asyncio.create_task(pool.run(lambda: 2))
    await asyncio.sleep(0)
    with pytest.raises(ProviderBusyError):
        await pool.run(lambda: 3)
    go.set()
    assert await running
    assert await waiting == 2


async def test_optional_work_is_left_when_anything_runs(pool: ComputePool):
    go = threading.Event()
    running = asyncio.create_task(pool.run(go.wait, 10))
    await asyncio.sleep(0)
    assert await pool.run_if_idle(lambda: 1) is None
    go.set()
    await running


async def test_a_failing_call_raises_and_frees_its_place(pool: ComputePool):
    for _ in range(5):
        with pytest.raises(ZeroDivisionError):
            await pool.run(lambda: 1 // 0)


async def test_a_cancelled_caller_holds_its_place_until_the_call_ends(pool: ComputePool):
    go = threading.Event()
    running = asyncio.create_task(pool.run(go.wait, 10))
    await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert not pool.is_idle
    go.set()
    while not pool.is_idle:
        await asyncio.sleep(0)
    assert await pool.run(lambda: 4) == 4


async def test_it_says_on_how_many_cores_it_computes(pool: ComputePool):
    go = threading.Event()
    assert pool.running == 0
    calls = [asyncio.create_task(pool.run(go.wait, 10)) for _ in range(2)]
    await asyncio.sleep(0)
    assert pool.running == 1
    go.set()
    await asyncio.gather(*calls)
