"""Passwords: hashed with bcrypt, off the event loop, a bounded number at a time."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import secrets
import sys
import threading
import unicodedata
from collections.abc import AsyncIterator, Callable, Hashable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Self, TypeVar

import bcrypt

from services.common.errors import ResourceExhausted
from services.common.limits import DEFAULT_LIMITS
from services.common.tallies import Tallies

# One hash at cost 12 takes about a quarter of a second: by then places are free again.
_RETRY_SECONDS = 1.0

# Of the places where passwords wait one address or one account holds so much at most.
_SHARE = DEFAULT_LIMITS.password_share

# Where a core is short they get a tenth of a conversation's share.
_NICE = 10

T = TypeVar("T")


class PasswordHasher:
    """Hashes and checks passwords. Open it with `PasswordHasher.open`.

    `holders` are those on whose account a password waits, an address or a user: one of them holds a
    quarter of the places at most. A place is held until its thread is done, also where nobody waits
    for the outcome any more.
    """

    def __init__(self, cost: int, pool: ThreadPoolExecutor, most_waiting: int) -> None:
        self._cost = cost
        self._pool = pool
        self._most = most_waiting
        self._waiting = 0
        self._held = Tallies()
        # What an unknown user's password is checked against: nobody's password, the same work.
        self._nobody = bcrypt.hashpw(_prepared(secrets.token_hex()), bcrypt.gensalt(cost))

    @classmethod
    @asynccontextmanager
    async def open(cls, cost: int, workers: int, most_waiting: int) -> AsyncIterator[Self]:
        """Yield a hasher with `workers` threads; they end when the block is left."""
        pool = ThreadPoolExecutor(workers, thread_name_prefix="password", initializer=_give_way)
        try:
            yield await asyncio.to_thread(cls, cost, pool, most_waiting)
        finally:
            await asyncio.to_thread(pool.shutdown, cancel_futures=True)

    async def hash(self, password: str, holders: Sequence[Hashable] = ()) -> bytes:
        """Return the hash to store for `password`.

        Raises:
            ResourceExhausted: TOO_MANY_ATTEMPTS, when too many wait already.
        """
        return await self._work(
            lambda: bcrypt.hashpw(_prepared(password), bcrypt.gensalt(self._cost)), holders
        )

    async def matches(
        self, password: str, stored: bytes | None, holders: Sequence[Hashable] = ()
    ) -> bool:
        """Tell whether `password` is the one behind `stored`; None, an unknown user, never is.

        An unknown user costs the same work as a wrong password, so that the time of the answer
        tells nothing. (Only after the cost was lowered do older hashes take longer.)

        Raises:
            ResourceExhausted: TOO_MANY_ATTEMPTS, when too many wait already.
        """
        return await self._work(lambda: self._check(_prepared(password), stored), holders)

    async def upgraded(self, password: str, stored: bytes) -> bytes | None:
        """Return a new hash when `stored` cost less work than is asked for now, else None.

        None too when too many wait already: the next sign-in will do as well.
        """
        if _cost_of(stored) >= self._cost or self._waiting >= self._most:
            return None
        return await self.hash(password)

    def _check(self, prepared: bytes, stored: bytes | None) -> bool:
        if stored is None:
            bcrypt.checkpw(prepared, self._nobody)
            return False
        if bcrypt.checkpw(prepared, stored):
            return True
        # A hash from when less work was asked for must not be told from no hash at all. Work
        # doubles with each step of the cost, so 2^s + 2^s + 2^(s+1) + ... + 2^(c-1) = 2^c.
        for cost in range(_cost_of(stored), self._cost):
            bcrypt.hashpw(prepared, bcrypt.gensalt(cost))
        return False

    async def _work(self, work: Callable[[], T], holders: Sequence[Hashable]) -> T:
        share = max(1, int(self._most * _SHARE))
        if self._waiting >= self._most or any(self._held.of(each) >= share for each in holders):
            raise ResourceExhausted(
                "Too many password checks wait already.",
                reason="TOO_MANY_ATTEMPTS",
                retry_after=_RETRY_SECONDS,
            )
        self._waiting += 1
        for each in holders:
            self._held.add(each)
        loop = asyncio.get_running_loop()
        done = self._pool.submit(work)

        def leave(_: Future[T]) -> None:
            loop.call_soon_threadsafe(self._leave, holders)

        done.add_done_callback(leave)
        try:
            return await asyncio.wrap_future(done)
        finally:
            # Gives the place of what has not begun back; what has begun ends when it ends.
            done.cancel()

    def _leave(self, holders: Sequence[Hashable]) -> None:
        self._waiting -= 1
        for each in holders:
            self._held.remove(each)


def _give_way() -> None:
    """Let the machine's other work come before this thread's: nobody's talk waits for a sign-in."""
    # Linux has a priority for each thread; elsewhere it would be another process's.
    if sys.platform == "linux":
        here = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, here, max(_NICE, os.getpriority(os.PRIO_PROCESS, here)))


def _cost_of(stored: bytes) -> int:
    """Return the cost in a hash: `$2b$<cost>$...`."""
    return int(stored.split(b"$")[2])


def _prepared(password: str) -> bytes:
    """Return what bcrypt hashes: 44 bytes that stand for a password of any length.

    bcrypt takes at most 72 bytes and stops at a zero byte; a SHA-256 in base64 avoids both. NFKC
    first (NIST SP 800-63B): keyboards differ in how they compose the same letters, and in their
    width.
    """
    text = unicodedata.normalize("NFKC", password)
    return base64.b64encode(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest())
