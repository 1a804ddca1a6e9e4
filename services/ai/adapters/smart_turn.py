"""End-of-turn detection by Smart Turn v3 (BSD-2), on plain onnxruntime.

The model looks at a Whisper log-mel spectrogram of the last eight seconds, zeros in front when
there is less, and gives the probability that the speaker has finished.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from services.ai.adapters.log_mel import log_mel
from services.ai.adapters.onnx import open_session
from services.ai.audio import to_float
from services.ai.capabilities import LEARNER_RATE_HZ, Pcm16, TurnDetectorCapabilities
from services.ai.compute import ComputePool

WINDOW_S = 8
_WINDOW_SAMPLES = WINDOW_S * LEARNER_RATE_HZ


class SmartTurn:
    """Runs the end-of-turn model in the shared pool."""

    def __init__(self, model: Path, pool: ComputePool) -> None:
        self._session = open_session(model)
        self._pool = pool
        self._score(np.zeros(LEARNER_RATE_HZ, np.int16))

    @property
    def capabilities(self) -> TurnDetectorCapabilities:
        """The last eight seconds."""
        return TurnDetectorCapabilities(window_s=float(WINDOW_S))

    async def end_of_turn(self, audio: Pcm16) -> float:
        """Return the probability that the speaker has finished."""
        return await self._pool.run(self._score, audio[-_WINDOW_SAMPLES:])

    def _score(self, audio: Pcm16) -> float:
        samples = np.zeros(_WINDOW_SAMPLES, np.float32)
        tail = to_float(audio[-_WINDOW_SAMPLES:])
        if len(tail):
            # Whisper's extractor normalises the waveform itself before the zeros are put in front
            # (``do_normalize``): the model was trained on unit variance over the whole window.
            samples[-len(tail) :] = tail
        samples = (samples - samples.mean()) / np.sqrt(samples.var() + np.float32(1e-7))
        features = log_mel(samples)[None]
        logits = self._session.run(None, {"input_features": features})[0]
        return float(logits[0, 0])
