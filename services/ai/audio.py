"""Plain arithmetic on PCM: bytes to samples, samples to milliseconds, loudness."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from services.ai.capabilities import LEARNER_RATE_HZ, Pcm16

_INT16 = np.dtype("<i2")


def pcm_from_bytes(data: bytes) -> Pcm16:
    """Read int16 little-endian mono PCM. Raises ``ValueError`` on an odd number of bytes."""
    if len(data) % 2:
        raise ValueError(f"16-bit PCM has an even number of bytes, got {len(data)}")
    return np.frombuffer(data, dtype=_INT16)


def to_float(audio: Pcm16) -> npt.NDArray[np.float32]:
    """Scale int16 samples to float32 in [-1, 1), which every speech model here expects."""
    return audio.astype(np.float32) / np.float32(32768.0)


def to_pcm_bytes(audio: npt.NDArray[np.float32]) -> bytes:
    """Scale float32 samples in [-1, 1] to int16 little-endian bytes, clipping what exceeds."""
    return (np.clip(audio, -1.0, 1.0) * np.float32(32767.0)).astype("<i2").tobytes()


def ms_of_samples(samples: int, rate_hz: int = LEARNER_RATE_HZ) -> int:
    """Return how long ``samples`` last, in whole milliseconds."""
    return samples * 1000 // rate_hz


def samples_of_ms(ms: float, rate_hz: int = LEARNER_RATE_HZ) -> int:
    """Return how many samples last ``ms``."""
    return int(ms * rate_hz / 1000)


def frame_energies(audio: Pcm16, frame: int) -> npt.NDArray[np.float32]:
    """Return the root mean square of each whole ``frame`` of samples, full scale = 1."""
    usable = len(audio) - len(audio) % frame
    if not usable:
        return np.zeros(0, np.float32)
    frames = to_float(audio[:usable]).reshape(-1, frame)
    return np.asarray(np.sqrt(np.mean(frames * frames, axis=1)), np.float32)
