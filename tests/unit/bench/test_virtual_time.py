"""The jumping clock: waiting takes no time and happens in order."""

from __future__ import annotations

import asyncio
import time

import pytest

from bench.peers.virtual_time import run_virtually


def test_waiting_forever_for_nothing_is_an_error_not_a_hang():
    async def wait() -> None:
        await asyncio.Event().wait()

    with pytest.raises(RuntimeError, match="nothing is due"):
        run_virtually(wait())


def test_an_hour_passes_at_once_on_the_loops_clock_only():
    async def sleep() -> float:
        await asyncio.sleep(3600)
        return asyncio.get_running_loop().time()

    started = time.monotonic()
    assert run_virtually(sleep()) == pytest.approx(3600)
    assert time.monotonic() - started < 60


def test_what_is_due_first_happens_first():
    async def collect() -> list[str]:
        order: list[str] = []

        async def note(name: str, after_s: float) -> None:
            await asyncio.sleep(after_s)
            order.append(name)

        await asyncio.gather(note("late", 2.0), note("early", 1.0), note("between", 1.5))
        return order

    assert run_virtually(collect()) == ["early", "between", "late"]


def test_a_timeout_is_met_in_virtual_time():
    async def time_out() -> None:
        async with asyncio.timeout(5):
            await asyncio.sleep(6)

    with pytest.raises(TimeoutError):
        run_virtually(time_out())
