"""Threads for blocking calls, which know how many calls they have."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


class CountedThreads:
    """An executor off the event loop. Full policy: whoever has one looks at ``pending`` first."""

    def __init__(self, executor: ThreadPoolExecutor) -> None:
        self._executor = executor
        self.pending = 0
        """Calls that run or wait. Changed on the event loop alone."""

    async def run(self, call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run ``call``. One whose caller was cancelled counts until it has ended."""
        self.pending += 1
        try:
            future = self._executor.submit(call, *args, **kwargs)
        except BaseException:
            self.pending -= 1
            raise
        loop = asyncio.get_running_loop()
        future.add_done_callback(lambda _: self._release_on(loop))
        return await asyncio.wrap_future(future)

    def close(self) -> None:
        """End the threads after the calls that run now."""
        self._executor.shutdown(wait=True, cancel_futures=True)

    def _release_on(self, loop: asyncio.AbstractEventLoop) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(self._release)

    def _release(self) -> None:
        self.pending -= 1
