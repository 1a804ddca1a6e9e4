"""Asking the next provider when the first is slow, and taking whoever begins first.

What it costs is said in docs/engines.md: two providers may work on one reply. Nothing of the slower
one is ever passed on, and it is stopped as soon as the other has begun.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Generic, TypeVar

from services.ai.streams import closable

T = TypeVar("T")


class _Nothing:
    """What an iterator gives that has ended."""


_NOTHING = _Nothing()


@dataclass(slots=True)
class _Contender(Generic[T]):
    index: int
    items: AsyncGenerator[T, None]
    first: asyncio.Task[T | _Nothing]

    async def leave(self) -> None:
        """Stop it, whatever it is doing."""
        self.first.cancel()
        await asyncio.gather(self.first, return_exceptions=True)
        await self.items.aclose()


async def race(
    starts: Sequence[Callable[[], AsyncIterator[T]]],
    after_s: float,
    *,
    on_failure: Callable[[int, Exception], bool],
    on_late: Callable[[int], None],
    on_win: Callable[[int], None],
    failures: type[Exception],
) -> AsyncIterator[T]:
    """Yield what the first that begins gives; each further one starts ``after_s`` later.

    Args:
        starts: begin each contender, the first choice first.
        on_failure: told of one that failed before it began; returns whether the next may be tried.
        after_s: how long one may take to begin before the next starts as well.
        on_late: told of one that has not begun in time, before the next is started.
        on_win: told who has begun.
        failures: what counts as a failure; anything else is raised at once.

    Raises what the last contender raised where none began, and what the winner raises later.
    """
    running: list[_Contender[T]] = []
    waiting = list(enumerate(starts))
    try:
        winner, first = await _first(running, waiting, after_s, on_failure, on_late, failures)
        on_win(winner.index)
        await asyncio.gather(*(each.leave() for each in running if each is not winner))
        running.clear()
        async with aclosing(winner.items) as items:
            if isinstance(first, _Nothing):
                return
            yield first
            async for item in items:
                yield item
    finally:
        await asyncio.gather(*(each.leave() for each in running))


async def _first(
    running: list[_Contender[T]],
    waiting: list[tuple[int, Callable[[], AsyncIterator[T]]]],
    after_s: float,
    on_failure: Callable[[int, Exception], bool],
    on_late: Callable[[int], None],
    failures: type[Exception],
) -> tuple[_Contender[T], T | _Nothing]:
    _start_next(running, waiting)
    while True:
        tasks = [each.first for each in running]
        limit = after_s if waiting else None
        done, _ = await asyncio.wait(tasks, timeout=limit, return_when=asyncio.FIRST_COMPLETED)
        if not done:
            on_late(running[-1].index)
            _start_next(running, waiting)
            continue
        # Of several that begin at once the first choice.
        for contender in [each for each in running if each.first in done]:
            error = contender.first.exception()
            if error is None:
                return contender, contender.first.result()
            if not isinstance(error, failures):
                raise error
            running.remove(contender)
            await contender.items.aclose()
            may_go_on = on_failure(contender.index, error)
            if not running:
                if not (may_go_on and waiting):
                    raise error
                _start_next(running, waiting)


def _start_next(
    running: list[_Contender[T]], waiting: list[tuple[int, Callable[[], AsyncIterator[T]]]]
) -> None:
    index, start = waiting.pop(0)
    items = closable(start())
    first: asyncio.Task[T | _Nothing] = asyncio.create_task(_next(items))
    running.append(_Contender(index, items, first))


async def _next(items: AsyncGenerator[T, None]) -> T | _Nothing:
    return await anext(items, _NOTHING)
