"""The CPU budget of the speech models: one small pool of threads that all of them share.

Every speech model runs with a single intra-op thread and without spinning, so the pool's size is
the number of cores that speech may use at once. The language model has threads of its own; its
count and this size are set together, in settings, so that they never fight for the same cores.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from services.ai.capabilities import ProviderBusyError
from services.ai.counted_threads import CountedThreads

P = ParamSpec("P")
R = TypeVar("R")


class ComputePool:
    """Runs blocking model calls off the event loop, at most ``size`` at a time.

    Full-policy: up to ``max_waiting`` calls wait, the next raises ``ProviderBusyError`` at once;
    optional work (``run_if_idle``) is refused, not queued, unless a thread is free now.
    """

    def __init__(self, size: int, max_waiting: int) -> None:
        self._threads = CountedThreads(
            ThreadPoolExecutor(max_workers=size, thread_name_prefix="speech-model")
        )
        self._size = size
        self._max_waiting = max_waiting

    @property
    def is_idle(self) -> bool:
        """Whether no call runs or waits."""
        return self._threads.pending == 0

    @property
    def running(self) -> int:
        """How many cores the pool computes on now. May be asked from any thread."""
        return min(self._threads.pending, self._size)

    @property
    def load(self) -> float:
        """Calls running or waiting, as a multiple of the pool's size."""
        return self._threads.pending / self._size

    async def run(self, call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run ``call`` in the pool. Raises ``ProviderBusyError`` when too many wait already.

        Cancelling the caller frees its place only once a running call has ended: threads cannot
        be stopped.
        """
        if self._threads.pending >= self._size + self._max_waiting:
            raise ProviderBusyError("the speech models have more work than they can carry")
        return await self._threads.run(call, *args, **kwargs)

    async def run_if_idle(
        self, call: Callable[P, R], *args: P.args, **kwargs: P.kwargs
    ) -> R | None:
        """Run optional work, or return None when anything else is running or waiting."""
        if not self.is_idle:
            return None
        return await self.run(call, *args, **kwargs)

    def close(self) -> None:
        """End the threads after the calls that run now."""
        self._threads.close()
