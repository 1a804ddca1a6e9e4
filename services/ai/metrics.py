"""What the engines count, for Prometheus."""

from __future__ import annotations

import statistics
from collections import deque

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from services.ai.engine import (
    EngineOutput,
    Notice,
    ReplyAudio,
    ReplyEnded,
    TurnCommitted,
    UtteranceDropped,
)

_REMEMBERED = 50
# From speculation's zero to a loaded machine's ten seconds.
_STAGE_BUCKETS = (0.01, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.5, 5.0, 10.0)


class _LastOnes:
    """The last values of each engine."""

    def __init__(self) -> None:
        self._values: dict[str, deque[float]] = {}

    def add(self, engine: str, value: float) -> None:
        self._values.setdefault(engine, deque(maxlen=_REMEMBERED)).append(value)

    def median(self, engine: str) -> int:
        values = self._values.get(engine)
        return round(statistics.median(values)) if values else 0


class EngineMetrics:
    """Metrics of live sessions. Feed it every output of every session."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._sessions = Gauge(
            "parley_ai_live_sessions", "Live sessions now.", ["engine"], registry=registry
        )
        self._turns = Counter(
            "parley_ai_turns_total", "Turns committed.", ["engine", "source"], registry=registry
        )
        self._stages = Histogram(
            "parley_ai_stage_seconds",
            "What each stage added to the silence before a reply.",
            ["engine", "stage"],
            buckets=_STAGE_BUCKETS,
            registry=registry,
        )
        self._speculations = Counter(
            "parley_ai_speculations_total",
            "Replies prepared before the turn was committed, by what became of them.",
            ["engine", "outcome"],
            registry=registry,
        )
        self._failures = Counter(
            "parley_ai_failures_total",
            "Failures inside sessions that went on.",
            ["engine", "reason"],
            registry=registry,
        )

        # What `parley engines` shows: the last turns of each engine.
        self._silences = _LastOnes()
        self._prompts = _LastOnes()

    def latency_ms(self, engine: str) -> int:
        """Return the median silence before a reply of the last turns; 0 where there was none."""
        return self._silences.median(engine)

    def prompt_tokens(self, engine: str) -> int:
        """Return the median of what the last replies read; 0 where there was none."""
        return self._prompts.median(engine)

    def session_opened(self, engine: str) -> None:
        """Count a session that begins."""
        self._sessions.labels(engine).inc()

    def session_closed(self, engine: str) -> None:
        """Count the same session at its end."""
        self._sessions.labels(engine).dec()

    def saw(self, engine: str, output: EngineOutput) -> None:
        """Count what ``output`` tells of."""
        match output:
            case ReplyAudio(stages=stages):
                if stages:
                    self._silences.add(engine, sum(stage.duration_ms for stage in stages))
                for stage in stages:
                    self._stages.labels(engine, stage.kind.value).observe(stage.duration_ms / 1000)
            case TurnCommitted(source=source, speculations=made, speculations_discarded=discarded):
                self._turns.labels(engine, source.value).inc()
                # Not at the reply's end: one that is interrupted has none.
                self._speculations.labels(engine, "used").inc(made - discarded)
                self._speculations.labels(engine, "discarded").inc(discarded)
            case UtteranceDropped(speculations=made):
                self._speculations.labels(engine, "discarded").inc(made)
            case ReplyEnded(usage=usage):
                if usage.prompt_tokens:
                    self._prompts.add(engine, usage.prompt_tokens)
            case Notice(reason=reason):
                self._failures.labels(engine, reason.value).inc()
            case _:
                pass
