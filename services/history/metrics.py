"""What a scrape of the history service tells of the events that come to it."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram

from services.common.clock import Clock
from services.history.application import Ingested

# From at once to a day: what was told while this service was away comes late, and is told.
_LAG_BUCKETS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1_800, 7_200, 86_400)


class IngestMetrics:
    """Counts events, and how far history lags behind what happens."""

    def __init__(self, clock: Clock, registry: CollectorRegistry) -> None:
        self._clock = clock
        self._events = Counter(
            "parley_history_events",
            "Events that came, by what became of them: stored, or known already.",
            ["outcome"],
            registry=registry,
        )
        self._refusals = Counter(
            "parley_history_refusals",
            "Batches of events of which nothing was stored, by reason; each is sent again, singly.",
            ["reason"],
            registry=registry,
        )
        self._lag = Histogram(
            "parley_history_lag_seconds",
            "From what happened to its being stored here.",
            buckets=_LAG_BUCKETS,
            registry=registry,
        )

    def took(self, ingested: Ingested) -> None:
        """Count events that were stored, or known."""
        self._events.labels("stored").inc(ingested.stored)
        self._events.labels("known").inc(ingested.known)
        now = self._clock.now()
        for at in ingested.times:
            # Another machine's clock may be a little ahead.
            self._lag.observe(max(0.0, (now - at).total_seconds()))

    def refused(self, reason: str) -> None:
        """Count a batch that was not stored."""
        self._refusals.labels(reason).inc()
