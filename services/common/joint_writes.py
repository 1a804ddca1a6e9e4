"""Units of work that wait for SQLite's one writer, done together in one transaction.

A durable commit and the way to a thread and back cost more than the statements of a small unit of
work. While one transaction is under way others come to wait; the next takes all of them. Each is
answered after the commit that holds it, as if it had been alone, and sees what those before it did.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from sqlalchemy.orm import Session, sessionmaker

T = TypeVar("T")

# Whoever is last in a transaction waits for all of it: with a few statements each, a few
# milliseconds.
MOST_TOGETHER = 16

InThread = Callable[[Callable[[], Any]], Awaitable[Any]]
"""Runs a function in a thread. Cancelled, it still waits until the function has returned."""


@dataclass(slots=True)
class _Outcome:
    value: Any = None
    error: Exception | None = None


@dataclass(slots=True)
class _Waiting:
    work: Callable[[Session], Any]
    outcome: asyncio.Future[_Outcome] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


class JointWrites:
    """Joins units of work.

    Full policy: none is refused; each is a caller that waits, and those are bounded.
    """

    def __init__(
        self, writer: asyncio.Lock, in_thread: InThread, sessions: sessionmaker[Session]
    ) -> None:
        self._writer = writer
        self._in_thread = in_thread
        self._sessions = sessions
        self._queue: deque[_Waiting] = deque()
        self._draining: asyncio.Task[None] | None = None

    async def write(self, work: Callable[[Session], T]) -> T:
        """Do `work`, with others or alone; return what it returns.

        Where another one that it was done with fails, nothing of theirs is kept, and each is done
        again, alone: `work` must do no harm when it is run twice. Cancelled, this still waits until
        the transaction has ended one way or the other.
        """
        waiting = _Waiting(work)
        self._queue.append(waiting)
        if self._draining is None or self._draining.done():
            self._draining = asyncio.create_task(self._drain())
        try:
            outcome = await asyncio.shield(waiting.outcome)
        except asyncio.CancelledError:
            while not waiting.outcome.done():
                try:
                    await asyncio.wait({waiting.outcome})
                except asyncio.CancelledError:
                    continue
            raise
        if outcome.error is not None:
            raise outcome.error
        value: T = outcome.value
        return value

    async def _drain(self) -> None:
        while self._queue:
            async with self._writer:
                count = min(len(self._queue), MOST_TOGETHER)
                group = [self._queue.popleft() for _ in range(count)]
                try:
                    await self._do(group)
                finally:
                    for waiting in group:
                        waiting.outcome.cancel()

    async def _do(self, group: Sequence[_Waiting]) -> None:
        works = [each.work for each in group]
        try:
            outcomes = await self._in_thread(lambda: self._together(works))
        except Exception as error:  # noqa: BLE001 - each caller is told, and judges it
            outcomes = [_Outcome(error=error)] * len(group)
        for waiting, outcome in zip(group, outcomes, strict=True):
            waiting.outcome.set_result(outcome)

    def _together(self, works: Sequence[Callable[[Session], Any]]) -> list[_Outcome]:
        with self._sessions() as session:
            try:
                outcomes = [_Outcome(work(session)) for work in works]
            except Exception as error:  # noqa: BLE001 - the one caller is told, and judges it
                session.rollback()
                if len(works) == 1:
                    return [_Outcome(error=error)]
            else:
                session.commit()
                return outcomes
        # Somebody's failure is nobody else's.
        return [outcome for work in works for outcome in self._alone(work)]

    def _alone(self, work: Callable[[Session], Any]) -> list[_Outcome]:
        try:
            return self._together([work])
        except Exception as error:  # noqa: BLE001 - a commit that failed is this one's alone
            return [_Outcome(error=error)]
