"""What a session adds up. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from statistics import median
from typing import Self

from parley.conversation.v1 import conversation_pb2
from parley.types.v1 import turn_pb2
from services.conversation.stages import silence_of, without_playing


@dataclass(slots=True)
class Totals:
    """Turns, seconds and silences so far."""

    turns: int = 0
    saved: int = 0
    learner_ms: int = 0
    tutor_ms: int = 0
    silences_ms: list[float] = field(default_factory=list)

    @classmethod
    def of(cls, turns: Iterable[turn_pb2.Turn]) -> Self:
        """Return the totals of a session that goes on after these stored turns."""
        totals = cls()
        for turn in turns:
            totals.add(turn)
            totals.saved += 1
        return totals

    def add(self, turn: turn_pb2.Turn) -> None:
        """Count a finished turn."""
        self.turns += 1
        self.tutor_ms += turn.heard_ms
        if turn.source == turn_pb2.UTTERANCE_SOURCE_SPEECH:
            self.learner_ms += turn.utterance_end_ms - turn.utterance_start_ms
        if turn.stages:
            self.silences_ms.append(silence_of(without_playing(turn.stages)))

    def summary(self, duration_ms: float) -> conversation_pb2.SessionSummary:
        """Return the summary of a session that was `duration_ms` long."""
        return conversation_pb2.SessionSummary(
            turns=self.turns,
            turns_saved=self.saved,
            learner_speech_ms=self.learner_ms,
            tutor_speech_ms=self.tutor_ms,
            duration_ms=max(0, int(duration_ms)),
            median_silence_ms=int(median(self.silences_ms)) if self.silences_ms else 0,
        )
