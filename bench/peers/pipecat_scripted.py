"""Instant stand-ins for Pipecat's own two models, so that only Pipecat itself is left to measure.

Runs in `.venv-peers`. Voice activity is loudness, by the rule of Parley's scripted one, and is
judged on the event loop: Pipecat's base class hands every frame to a thread, which here would only
slow it. The turn detector always says that the turn is over.
"""

from __future__ import annotations

import numpy as np
from pipecat.audio.turn.base_turn_analyzer import (
    BaseTurnAnalyzer,
    BaseTurnParams,
    EndOfTurnState,
)
from pipecat.audio.vad.vad_analyzer import VADAnalyzer, VADState
from pipecat.metrics.metrics import MetricsData
from pipecat.turns.user_stop import TurnAnalyzerUserTurnStopStrategy
from pipecat.turns.user_turn_strategies import UserTurnStrategies

from services.ai.adapters.scripted import is_loud


class LoudnessAnalyzer(VADAnalyzer):
    """Voice activity by loudness, with Pipecat's default delays."""

    def __init__(self) -> None:
        super().__init__()
        self._loud_s = 0.0
        self._quiet_s = 0.0
        self._state = VADState.QUIET

    def num_frames_required(self) -> int:
        """20 ms, as the client sends."""
        return int(self.sample_rate) // 50

    def voice_confidence(self, buffer: bytes) -> float:
        """1 for a loud frame, else 0."""
        return 1.0 if is_loud(np.frombuffer(buffer, "<i2")) else 0.0

    async def analyze_audio(self, buffer: bytes) -> VADState:
        """Take one message of audio; return the state after it."""
        seconds = len(buffer) / 2 / self.sample_rate
        if self.voice_confidence(buffer):
            self._loud_s += seconds
            self._quiet_s = 0.0
        else:
            self._quiet_s += seconds
            self._loud_s = 0.0
        if self._state is not VADState.SPEAKING and self._loud_s >= self.params.start_secs:
            self._state = VADState.SPEAKING
        elif self._state is VADState.SPEAKING and self._quiet_s >= self.params.stop_secs:
            self._state = VADState.QUIET
        return self._state


class CertainTurnAnalyzer(BaseTurnAnalyzer):
    """Says of every pause that the turn is over."""

    @property
    def speech_triggered(self) -> bool:
        """Whether speech is under analysis: never."""
        return False

    @property
    def params(self) -> BaseTurnParams:
        """There are none."""
        return BaseTurnParams()

    def append_audio(self, buffer: bytes, is_speech: bool) -> EndOfTurnState:
        """Do nothing with the audio."""
        return EndOfTurnState.INCOMPLETE

    async def analyze_end_of_turn(self) -> tuple[EndOfTurnState, MetricsData | None]:
        """Return that the turn is over."""
        return EndOfTurnState.COMPLETE, None

    def update_vad_start_secs(self, vad_start_secs: float) -> None:
        """Do nothing."""

    def clear(self) -> None:
        """Do nothing."""


def certain_strategies() -> UserTurnStrategies:
    """Return Pipecat's default strategies with the instant turn detector in place of its own."""
    return UserTurnStrategies(
        stop=[TurnAnalyzerUserTurnStopStrategy(turn_analyzer=CertainTurnAnalyzer())]
    )
