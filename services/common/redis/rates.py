"""Limits that the processes of a service count together.

Each process decides by its own buckets, at once and without asking anybody; several times a second
it tells Redis what was poured into them, and hears how full the common ones are. So at most what
comes within that time at the other processes is admitted too much, and a Redis that is away or was
emptied leaves each process its own count.
"""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Sequence
from typing import Any

import structlog

from services.common.clock import Clock
from services.common.errors import Unavailable
from services.common.rates import REMEMBERED, Rates
from services.common.redis.connection import PREFIX, Redis, answered

_log = structlog.get_logger(__name__)

# Four round trips a second cost a process nothing that can be measured.
_EVERY_SECONDS = 0.25
# Buckets told of in one call; what is left comes in the next.
_AT_ONCE = 500

# Each bucket: how full it was, and when, in the server's own seconds. It is empty, and forgotten,
# when it has leaked for as long as its level says.
_POUR = """
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local levels = {}
for i, key in ipairs(KEYS) do
  local per_second, poured = tonumber(ARGV[2 * i - 1]), tonumber(ARGV[2 * i])
  local was = redis.call('HMGET', key, 'level', 'at')
  local level = 0
  if was[1] then
    level = math.max(0, tonumber(was[1]) - (now - tonumber(was[2])) * per_second)
  end
  level = math.max(0, level + poured)
  redis.call('HSET', key, 'level', level, 'at', now)
  redis.call('PEXPIRE', key, math.ceil(level / per_second * 1000) + 1000)
  levels[i] = tostring(level)
end
return levels
"""


class SharedRates(Rates):
    """Buckets whose levels are told to the other processes. See `Rates`."""

    def __init__(self, per_second: float, burst: float) -> None:
        super().__init__(per_second, burst)
        self.per_second = per_second
        self._poured: dict[Hashable, float] = {}
        self._emptied: set[Hashable] = set()

    def count(self, key: Hashable, now: float) -> None:
        """Count one."""
        super().count(key, now)
        self._pour(key, 1.0)

    def give_back(self, key: Hashable, now: float) -> None:
        """Take one back that was counted."""
        super().give_back(key, now)
        self._pour(key, -1.0)

    def forget(self, key: Hashable) -> None:
        """Empty the bucket of `key`, everywhere."""
        super().forget(key)
        self._poured.pop(key, None)
        self._emptied.add(key)

    def to_tell(self) -> tuple[dict[Hashable, float], set[Hashable]]:
        """Return what was poured since it was asked last, and which buckets were emptied."""
        poured, emptied = self._poured, self._emptied
        self._poured, self._emptied = {}, set()
        return poured, emptied

    def hear(self, key: Hashable, level: float, now: float) -> None:
        """Take up how full the common bucket is. One that was lost never empties ours."""
        level += self._poured.get(key, 0.0)
        if level > self._level(key, now):
            self._put(key, level, now)

    def _pour(self, key: Hashable, how_much: float) -> None:
        # Full policy: the others are not told; it is counted here all the same.
        if key in self._poured or len(self._poured) < REMEMBERED:
            self._poured[key] = self._poured.get(key, 0.0) + how_much


class SharedCounts:
    """The shared rates of a service. `run` must run beside what counts."""

    def __init__(self, redis: Redis, service: str, clock: Clock) -> None:
        self._redis = redis
        self._service = service
        self._clock = clock
        self._rates: dict[str, SharedRates] = {}

    def make(self, name: str, per_second: float, burst: float) -> Rates:
        """Return the rates that are known as `name` to all processes of the service."""
        rates = self._rates[name] = SharedRates(per_second, burst)
        return rates

    async def run(self) -> None:
        """Tell and hear, until cancelled."""
        failing = False
        while True:
            await self._clock.sleep(_EVERY_SECONDS)
            try:
                await self.exchange()
                failing = False
            except Unavailable:
                if not failing:
                    _log.warning("counts_not_shared", service=self._service)
                failing = True

    async def exchange(self) -> None:
        """Tell and hear once.

        Raises:
            Unavailable: Redis does not answer. What was to be told is counted here alone.
        """
        told: list[tuple[SharedRates, str, Hashable, float]] = []
        emptied: list[str] = []
        for name, rates in self._rates.items():
            poured, forgotten = rates.to_tell()
            emptied += [self._key(name, key) for key in forgotten]
            told += [(rates, self._key(name, key), key, each) for key, each in poured.items()]
        if emptied:
            await answered(self._redis.delete(*emptied))
        for first in range(0, len(told), _AT_ONCE):
            await self._pour(told[first : first + _AT_ONCE])

    async def _pour(self, some: Sequence[tuple[SharedRates, str, Hashable, float]]) -> None:
        keys = [key for _, key, _, _ in some]
        arguments = [each for rates, _, _, poured in some for each in (rates.per_second, poured)]
        script: Any = self._redis.eval(_POUR, len(keys), *keys, *arguments)
        levels = await answered(script)
        now = self._clock.monotonic()
        for (rates, _, key, _), level in zip(some, levels, strict=True):
            rates.hear(key, float(level), now)

    def _key(self, name: str, key: Hashable) -> str:
        # Names and addresses of learners stay out of Redis.
        digest = hashlib.sha256(repr(key).encode()).hexdigest()[:32]
        return f"{PREFIX}rate:{self._service}:{name}:{digest}"
