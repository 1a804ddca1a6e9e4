"""End-of-turn detection by Smart Turn v3 (BSD-2), on plain onnxruntime.

The model looks at a Whisper log-mel spectrogram of the last eight seconds, zeros in front when
there is less, and gives the probability that the speaker has finished.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from services.ai.adapters.onnx import open_session
from services.ai.audio import to_float
from services.ai.capabilities import LEARNER_RATE_HZ, Pcm16, TurnDetectorCapabilities
from services.ai.compute import ComputePool

WINDOW_S = 8
_WINDOW_SAMPLES = WINDOW_S * LEARNER_RATE_HZ

# Whisper's front end (Radford et al. 2022, section 2.1): 25 ms windows every 10 ms, 80 mel bands.
_FFT = 400
_HOP = 160
_MELS = 80
_FRAMES = _WINDOW_SAMPLES // _HOP


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


def log_mel(samples: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return Whisper's log-mel spectrogram of ``samples`` (16 kHz), shape (80, frames)."""
    padded = np.pad(samples, _FFT // 2, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, _FFT)[::_HOP][:_FRAMES]
    power = np.abs(np.fft.rfft(frames * _WINDOW, axis=1)).astype(np.float32) ** 2
    mel = np.log10(np.maximum(_FILTERS @ power.T, np.float32(1e-10)))
    mel = np.maximum(mel, mel.max() - np.float32(8.0))
    return np.asarray((mel + np.float32(4.0)) / np.float32(4.0), np.float32)


def _slaney_filters() -> npt.NDArray[np.float32]:
    """Return the mel filter bank of librosa's default (Slaney's scale, area-normalised)."""

    def to_mel(hz: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        linear = 3.0 * hz / 200.0
        log = 15.0 + np.log(np.maximum(hz, 1e-9) / 1000.0) * (27.0 / np.log(6.4))
        return np.where(hz >= 1000.0, log, linear)

    def to_hz(mel: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        linear = 200.0 * mel / 3.0
        log = 1000.0 * np.exp(np.log(6.4) / 27.0 * (mel - 15.0))
        return np.where(mel >= 15.0, log, linear)

    bins = np.linspace(0.0, LEARNER_RATE_HZ / 2, _FFT // 2 + 1)
    limits = to_mel(np.array([0.0, LEARNER_RATE_HZ / 2]))
    points = to_hz(np.linspace(limits[0], limits[1], _MELS + 2))
    slopes = points[:, None] - bins[None, :]
    widths = np.diff(points)
    rising = -slopes[:-2] / widths[:-1, None]
    falling = slopes[2:] / widths[1:, None]
    triangles = np.maximum(0.0, np.minimum(rising, falling))
    area = 2.0 / (points[2:] - points[:-2])
    return np.asarray(triangles * area[:, None], np.float32)


_WINDOW = np.hanning(_FFT + 1)[:-1].astype(np.float32)
_FILTERS = _slaney_filters()
