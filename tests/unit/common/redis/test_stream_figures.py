"""What waits in a stream, and what was laid aside of it, can be watched."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry

from services.common.clock import ManualClock
from services.common.errors import Unavailable
from services.common.redis.connection import Redis
from services.common.redis.stream_figures import StreamFigures
from services.common.redis.streams import dead_letters_of, stream_of


async def test_what_waits_and_what_was_laid_aside_can_be_watched(redis: Redis) -> None:
    registry = CollectorRegistry()
    figures = StreamFigures(redis, "history", ManualClock(), registry)

    async def seen() -> list[float | None]:
        await figures.look()
        names = ("waiting", "laid_aside")
        return [registry.get_sample_value(f"parley_stream_{each}") for each in names]

    assert await seen() == [0, 0]
    for _ in range(3):
        await redis.xadd(stream_of("history"), {b"payload": b"words"})
    await redis.xadd(dead_letters_of("history"), {b"why": b"it is none"})
    await redis.xadd(stream_of("media"), {b"payload": b"another's"})
    assert await seen() == [3, 1]


async def test_a_redis_that_is_away_leaves_the_figures_as_they_were(absent: Redis) -> None:
    figures = StreamFigures(absent, "history", ManualClock(), CollectorRegistry())
    figures.waiting.set(7)
    with pytest.raises(Unavailable):
        await figures.look()
    assert next(iter(figures.waiting.collect())).samples[0].value == 7
