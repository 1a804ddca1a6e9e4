"""Which sign-ins are over, asked of the user service once for all processes.

An answer is a copy of the truth, never in its place. One that is over stays over, so that is kept
until its last token has expired; one that is not may end at any moment, so that is believed for
two seconds. Where nothing is kept, as after FLUSHALL, the truth is asked.

A marker beside them says since when nothing was lost. It goes with them, and the user service puts
it there again: what is not kept is taken for "not over" only of tokens younger than the marker.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress

from services.common.clock import Clock
from services.common.errors import ParleyError, Unavailable
from services.common.going_on import going_on
from services.common.redis.connection import PREFIX, Redis, answered
from services.common.revocation import Ended, SignInsUnknownError

SINCE = f"{PREFIX}sign-ins-since"
"""The marker's key: a time, in seconds of the epoch."""

_OVER, _LIVE = b"over", b"live"
# The longest life of an access token that can be set, and clocks a little apart.
_OVER_SECONDS = 3600 + 60
_LIVE_SECONDS = 2
_REMEMBERED = 10_000
_MARKED_EVERY_SECONDS = 1.0
# A Redis that is silent costs whoever asks seconds; the truth is asked alone for so long then.
_LEFT_ALONE_SECONDS = 10.0


class SignInCache:
    """Answers from Redis, and asks `truth` what is not there.

    What is over is remembered here as well: it stays refused while neither can be asked.
    """

    def __init__(self, redis: Redis, truth: Ended, clock: Clock) -> None:
        self._redis = redis
        self._truth = truth
        self._clock = clock
        self._over: OrderedDict[str, float] = OrderedDict()
        self._left_alone_until = float("-inf")

    async def ended(self, session_ids: Sequence[str]) -> set[str]:
        """Return those, of 1,000 at most, that are over, as far as that can be told.

        Raises:
            SignInsUnknownError: of none it is known that it is over, and the truth, which would
                have to be asked of some, does not answer.
        """
        over = {each for each in session_ids if self._clock.monotonic() < self._over.get(each, 0.0)}
        unknown = [each for each in session_ids if each not in over]
        if not unknown:
            return over
        kept, since = await self._kept(unknown)
        over |= {each for each, answer in kept.items() if answer == _OVER}
        unknown = [each for each in unknown if kept.get(each) not in (_OVER, _LIVE)]
        if unknown:
            try:
                found = await self._truth(unknown)
            except ParleyError as error:
                if not over:
                    raise SignInsUnknownError(since) from error
            else:
                over |= found
                await self._keep(unknown, found)
        self._remember(over)
        return over

    async def _kept(self, session_ids: Sequence[str]) -> tuple[dict[str, bytes | None], float]:
        """Return what is kept of each, and since when nothing was lost of what is."""
        if self._clock.monotonic() < self._left_alone_until:
            return {}, math.inf
        keys = [SINCE, *(_key(each) for each in session_ids)]
        try:
            since, *found = await answered(self._redis.mget(keys))
        except Unavailable:
            self._left_alone_until = self._clock.monotonic() + _LEFT_ALONE_SECONDS
            return {}, math.inf
        return dict(zip(session_ids, found, strict=True)), _time(since)

    async def _keep(self, session_ids: Sequence[str], over: set[str]) -> None:
        if self._clock.monotonic() < self._left_alone_until:
            return
        async with self._redis.pipeline(transaction=False) as pipe:
            for each in session_ids:
                if each in over:
                    pipe.set(_key(each), _OVER, ex=_OVER_SECONDS)
                else:
                    # Somebody may have learned meanwhile that it is over.
                    pipe.set(_key(each), _LIVE, ex=_LIVE_SECONDS, nx=True)
            with suppress(Unavailable):
                await answered(pipe.execute())

    def _remember(self, over: set[str]) -> None:
        until = self._clock.monotonic() + _OVER_SECONDS
        for each in over:
            self._over.setdefault(each, until)
            if len(self._over) > _REMEMBERED:
                self._over.popitem(last=False)


class NothingLostSince:
    """Keeps the marker in Redis. The user service runs it, as its clock is that of the tokens."""

    def __init__(self, redis: Redis, clock: Clock) -> None:
        self._redis = redis
        self._clock = clock

    async def run(self) -> None:
        """Put the marker where it is missing, until cancelled. A Redis away is waited for."""
        while True:
            with going_on("marker_not_put"), suppress(Unavailable):
                await self.mark()
            await self._clock.sleep(_MARKED_EVERY_SECONDS)

    async def mark(self) -> None:
        """Put the marker there, unless it is.

        Raises:
            Unavailable: PEER_UNAVAILABLE, Redis does not answer.
        """
        now = self._clock.now().timestamp()
        await answered(self._redis.set(SINCE, f"{now:.3f}", nx=True))


def _time(written: bytes | None) -> float:
    """Return what the marker says; infinite where it is missing, or no time."""
    try:
        since = float(written or b"")
    except ValueError:
        return math.inf
    return since if math.isfinite(since) else math.inf


def _key(session_id: str) -> str:
    return f"{PREFIX}sign-in:{session_id}"
