"""Codec work, off the event loop, in pools of declared size."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import ParamSpec, Self, TypeVar

from services.common.errors import ResourceExhausted

P = ParamSpec("P")
T = TypeVar("T")

_NICENESS = 10
"""On a laptop the same cores answer a learner: storing what was said must give way to that."""

_BUSY_RETRY_SECONDS = 2.0
"""A whole lesson transcodes in a few seconds."""


class Workers:
    """A thread pool with a bounded queue. Make it with `Workers.open`."""

    def __init__(self, executor: ThreadPoolExecutor, places: int) -> None:
        self._executor = executor
        self._places = places
        self._taken = 0

    @classmethod
    @asynccontextmanager
    async def open(cls, name: str, threads: int, waiting: int) -> AsyncIterator[Self]:
        """Yield a pool of `threads`, in which `waiting` more jobs may wait.

        Leaving the block waits for the jobs that run.
        """
        executor = ThreadPoolExecutor(threads, name, initializer=_give_way)
        try:
            yield cls(executor, threads + waiting)
        finally:
            await asyncio.shield(
                asyncio.to_thread(executor.shutdown, wait=True, cancel_futures=True)
            )

    @property
    def taken(self) -> int:
        """How many jobs run or wait."""
        return self._taken

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `work` in the pool. A cancelled caller stops waiting; work begun goes on.

        Raises:
            ResourceExhausted: MEDIA_BUSY, when the queue is full.
        """
        if self._taken >= self._places:
            raise ResourceExhausted(
                "As much audio is being prepared as this machine can do at once.",
                reason="MEDIA_BUSY",
                retry_after=_BUSY_RETRY_SECONDS,
            )
        self._taken += 1
        future = self._executor.submit(work, *args, **kwargs)
        loop = asyncio.get_running_loop()
        future.add_done_callback(lambda _: _on(loop, self._leave))
        return await asyncio.wrap_future(future)

    def _leave(self) -> None:
        self._taken -= 1


def _on(loop: asyncio.AbstractEventLoop, call: Callable[[], None]) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(call)


def _give_way() -> None:
    if sys.platform == "linux":
        # On Linux a thread has a niceness of its own.
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
