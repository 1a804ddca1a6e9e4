"""Brings audio of any rate to the learner's rate, piece by piece."""

from __future__ import annotations

import numpy as np
import soxr

from services.ai.capabilities import LEARNER_RATE_HZ, Pcm16


class Resampler:
    """Resamples one stream of int16 mono PCM from ``rate_hz`` to 16 kHz."""

    def __init__(self, rate_hz: int) -> None:
        self._stream = (
            None
            if rate_hz == LEARNER_RATE_HZ
            else soxr.ResampleStream(rate_hz, LEARNER_RATE_HZ, 1, dtype="int16", quality="HQ")
        )

    def feed(self, audio: Pcm16) -> Pcm16:
        """Return what is ready after ``audio``."""
        if self._stream is None:
            return audio
        return np.asarray(self._stream.resample_chunk(audio), np.int16)

    def flush(self) -> Pcm16:
        """Return the rest once no more audio comes."""
        if self._stream is None:
            return np.zeros(0, np.int16)
        return np.asarray(self._stream.resample_chunk(np.zeros(0, np.int16), last=True), np.int16)
