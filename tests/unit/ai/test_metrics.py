"""What the engines count."""

from prometheus_client import CollectorRegistry

from services.ai.capabilities import EMPTY_TRANSCRIPT
from services.ai.engine import TurnCommitted, UtteranceDropped, UtteranceSource
from services.ai.metrics import EngineMetrics


def test_a_speculation_counts_though_its_reply_was_interrupted_or_its_words_were_nothing():
    registry = CollectorRegistry()
    metrics = EngineMetrics(registry)
    source = UtteranceSource.SPEECH
    metrics.saw("local", TurnCommitted(1, 1, source, EMPTY_TRANSCRIPT, 0, 900, 0, 2, 1))
    metrics.saw("local", UtteranceDropped("empty", 1))

    def counted(outcome: str) -> float | None:
        labels = {"engine": "local", "outcome": outcome}
        return registry.get_sample_value("parley_ai_speculations_total", labels)

    assert (counted("used"), counted("discarded")) == (1, 2)
