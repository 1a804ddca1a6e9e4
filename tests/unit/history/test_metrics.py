"""How history keeps up with what happens, as a scrape tells it."""

from datetime import timedelta
from typing import Any

from prometheus_client import CollectorRegistry

from services.common.clock import ManualClock
from services.history.application import Ingested
from services.history.metrics import IngestMetrics


def seen(registry: CollectorRegistry, name: str, **labels: str) -> Any:
    return registry.get_sample_value(f"parley_history_{name}", labels)


def test_events_are_counted_and_how_late_they_are_stored() -> None:
    clock, registry = ManualClock(), CollectorRegistry()
    metrics = IngestMetrics(clock, registry)
    ages = (timedelta(seconds=3), timedelta(milliseconds=50), timedelta(seconds=-2))
    metrics.took(Ingested(3, 2, tuple(clock.now() - each for each in ages)))
    metrics.took(Ingested(0, 1))
    metrics.refused("EVENT_INVALID")
    assert seen(registry, "events_total", outcome="stored") == 3
    assert seen(registry, "events_total", outcome="known") == 3
    assert seen(registry, "refusals_total", reason="EVENT_INVALID") == 1
    # A sender's clock that is ahead is no lag.
    assert seen(registry, "lag_seconds_bucket", le="0.1") == 2
    assert seen(registry, "lag_seconds_count") == 3
    assert seen(registry, "lag_seconds_sum") == 3.05
