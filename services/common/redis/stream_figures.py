"""What lies in a service's stream, for whoever watches: how much waits, and what was laid aside."""

from __future__ import annotations

from contextlib import suppress

from prometheus_client import CollectorRegistry, Gauge

from services.common.clock import Clock
from services.common.errors import Unavailable
from services.common.going_on import going_on
from services.common.redis.connection import Redis, answered
from services.common.redis.streams import dead_letters_of, stream_of

# Two short calls; scrapes come every 15 s or so.
_EVERY_SECONDS = 10.0


class StreamFigures:
    """Looks into the streams of a service now and then, and keeps their gauges."""

    def __init__(
        self, redis: Redis, service: str, clock: Clock, registry: CollectorRegistry
    ) -> None:
        self._redis = redis
        self._clock = clock
        self._stream, self._dead = stream_of(service), dead_letters_of(service)
        self.waiting = Gauge(
            "parley_stream_waiting",
            "Events in the stream to this service: an event leaves it when it is stored.",
            registry=registry,
        )
        self.laid_aside = Gauge(
            "parley_stream_laid_aside",
            "Entries that came to this service and can be nobody's event.",
            registry=registry,
        )

    async def run(self) -> None:
        """Look until cancelled. While Redis is away the figures stay what they were."""
        while True:
            # Who reads the stream says that it cannot.
            with going_on("stream_not_measured"), suppress(Unavailable):
                await self.look()
            await self._clock.sleep(_EVERY_SECONDS)

    async def look(self) -> None:
        """Look once.

        Raises:
            Unavailable: PEER_UNAVAILABLE, Redis does not answer.
        """
        self.waiting.set(await answered(self._redis.xlen(self._stream)))
        self.laid_aside.set(await answered(self._redis.xlen(self._dead)))
