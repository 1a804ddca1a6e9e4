"""Whisper's log-mel spectrogram (Radford et al. 2022, section 2.1), in numpy.

25 ms windows every 10 ms, 80 mel bands. Smart Turn listens to the same.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from services.ai.capabilities import LEARNER_RATE_HZ

FRAME_SAMPLES = 160
"""From one frame to the next."""

_FFT = 400
_MELS = 80
# What is this much quieter (in powers of ten) than the loudest is silence.
_DEPTH = 8.0
# More frames at once, and OpenBLAS takes threads of its own for them: they wait for each other by
# spinning, on cores that are somebody else's, and take ten times as long.
_AT_ONCE = 16


def log_mel(samples: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return the log-mel spectrogram of ``samples`` (16 kHz), shape (80, frames)."""
    padded = np.pad(samples, _FFT // 2, mode="reflect")
    count = len(samples) // FRAME_SAMPLES
    frames = np.lib.stride_tricks.sliding_window_view(padded, _FFT)[::FRAME_SAMPLES][:count]
    power = np.abs(np.fft.rfft(frames * _WINDOW, axis=1)).astype(np.float32) ** 2
    bands = np.empty((_MELS, count), np.float32)
    for first in range(0, count, _AT_ONCE):
        some = slice(first, first + _AT_ONCE)
        np.matmul(_FILTERS, power[some].T, out=bands[:, some])
    mel = np.log10(np.maximum(bands, np.float32(1e-10)))
    mel = np.maximum(mel, mel.max() - np.float32(_DEPTH))
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
