"""What sessions count, for Prometheus. Labels are names of the contract, never ids or users."""

from __future__ import annotations

from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from parley.types.v1 import turn_pb2
from services.conversation.events import (
    BargedIn,
    Effect,
    EngineLost,
    Event,
    SaveTurn,
    Send,
)
from services.conversation.stages import silence_of, without_playing

# From a speculation's nothing to a loaded machine's ten seconds.
_SILENCE_BUCKETS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.75, 0.9, 1.2, 1.5, 2.0, 3.0, 5.0, 10.0)
_STAGE_BUCKETS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.5, 5.0, 10.0)


class ConversationMetrics:
    """Metrics of the process's sessions. Feed it every event and effect of every machine."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.live_sessions = Gauge(
            "parley_conversation_live_sessions", "Live sessions now.", registry=registry
        )
        self.unsaved_turns = Gauge(
            "parley_conversation_unsaved_entries",
            "Finished turns, and beginnings and ends of conversations, not written yet.",
            registry=registry,
        )
        self._turns = Counter(
            "parley_conversation_turns_total",
            "Turns finished, by how the utterance came and how the reply ended.",
            ["source", "ended"],
            registry=registry,
        )
        self._silence = Histogram(
            "parley_conversation_silence_seconds",
            "From the end of the learner's speech, as it came, to the first reply audio sent.",
            ["source"],
            buckets=_SILENCE_BUCKETS,
            registry=registry,
        )
        self._stages = Histogram(
            "parley_conversation_stage_seconds",
            "What each stage added to that silence; `received` (the network, both ways) and"
            " `played` come after, where clients report what they play.",
            ["stage"],
            buckets=_STAGE_BUCKETS,
            registry=registry,
        )
        self._barge_ins = Counter(
            "parley_conversation_barge_ins_total",
            "Replies that the learner stopped by voice or by hand (interruption), or spoke over"
            " without stopping them for good (backchannel).",
            ["meaning"],
            registry=registry,
        )
        self._engines_lost = Counter(
            "parley_conversation_engines_lost_total",
            "Engines that live sessions lost.",
            registry=registry,
        )
        self._resumed = Counter(
            "parley_conversation_resumed_total",
            "Clients that came back, by where their session was: in this process or in storage.",
            ["where"],
            registry=registry,
        )

    def resumed(self, where: Literal["process", "storage"]) -> None:
        """Count a client that came back."""
        self._resumed.labels(where).inc()

    def happened(self, event: Event) -> None:
        """Count what a machine was told."""
        match event:
            case EngineLost():
                self._engines_lost.inc()
            case _:
                pass

    def done(self, effect: Effect) -> None:
        """Count what a machine did."""
        match effect:
            case SaveTurn(turn):
                self._count(turn)
            case Send(response) if response.HasField("reply_resumed"):
                self._barge_ins.labels("backchannel").inc()
            case BargedIn():
                self._barge_ins.labels("interruption").inc()
            case _:
                pass

    def _count(self, turn: turn_pb2.Turn) -> None:
        source = _label(turn_pb2.UtteranceSource.Name(turn.source), "UTTERANCE_SOURCE_")
        reason = turn_pb2.ReplyEndReason.Name(turn.reply_end_reason)
        self._turns.labels(source, _label(reason, "REPLY_END_REASON_")).inc()
        if not turn.stages:
            return
        self._silence.labels(source).observe(silence_of(without_playing(turn.stages)) / 1000)
        for stage in turn.stages:
            name = _label(turn_pb2.StageKind.Name(stage.kind), "STAGE_KIND_")
            self._stages.labels(name).observe(stage.duration_ms / 1000)


def _label(name: str, prefix: str) -> str:
    return name.removeprefix(prefix).lower()
