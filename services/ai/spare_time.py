"""What is worth doing, but not worth anybody's wait: one thread that gives way to all others."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import ParamSpec, TypeVar

from services.ai.counted_threads import CountedThreads

P = ParamSpec("P")
R = TypeVar("R")

_LOWEST_PRIORITY = 19


class SpareTime:
    """Runs blocking calls one after another, on what others leave of the processor.

    Full policy: while ``max_waiting`` calls wait the next is not taken.
    """

    def __init__(self, max_waiting: int = 2) -> None:
        self._max_waiting = max_waiting
        self._threads = CountedThreads(
            ThreadPoolExecutor(
                max_workers=1, thread_name_prefix="spare-time", initializer=_give_way
            )
        )

    async def run(self, call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R | None:
        """Run ``call``; return None, at once, where too many wait already.

        Cancelling the caller does not stop a call that runs: it looks for itself whether it shall.
        """
        if self._threads.pending > self._max_waiting:
            return None
        return await self._threads.run(call, *args, **kwargs)

    def close(self) -> None:
        """End the thread after the call that runs now."""
        self._threads.close()


def _give_way() -> None:
    """Give this thread the lowest priority. Only Linux has one for each thread."""
    if sys.platform == "linux":
        # Where it is not allowed the thread is one like any other.
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LOWEST_PRIORITY)
