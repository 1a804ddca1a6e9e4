"""What learners used of paid engines, counted by all processes together in Redis."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from services.ai.budgets import Spent
from services.common.redis.connection import PREFIX, Redis, answered

# Longer than the day that it is about, wherever on earth the processes' clocks stand.
_KEPT_SECONDS = 2 * 24 * 3600
_FIELDS = ("audio_ms", "tokens", "characters")


class RedisSpending:
    """A hash for each learner and day. See `services.ai.budgets.CommonSpending`."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def total(self, day: str, user: str) -> Spent:
        """Return what a learner has used. Raises ``Unavailable``."""
        call: Any = self._redis.hmget(_key(day, user), list(_FIELDS))
        return _spent(await answered(call))

    async def add(self, day: str, spent: Mapping[str, Spent]) -> dict[str, Spent]:
        """Count what learners used; return what each has used then. Raises ``Unavailable``."""
        async with self._redis.pipeline(transaction=True) as pipeline:
            for user, used in spent.items():
                key = _key(day, user)
                amounts = (round(1000 * used.audio_s), used.tokens, used.characters)
                for field, amount in zip(_FIELDS, amounts, strict=True):
                    pipeline.hincrby(key, field, amount)
                pipeline.expire(key, _KEPT_SECONDS)
            results = await answered(pipeline.execute())
        step = len(_FIELDS) + 1
        return {user: _spent(results[step * n :]) for n, user in enumerate(spent)}


def _spent(amounts: Any) -> Spent:
    audio_ms, tokens, characters = (int(each or 0) for each in amounts[: len(_FIELDS)])
    return Spent(audio_ms / 1000, tokens, characters)


def _key(day: str, user: str) -> str:
    # Who learns here stays out of Redis.
    digest = hashlib.sha256(user.encode()).hexdigest()[:32]
    return f"{PREFIX}budget:{day}:{digest}"
