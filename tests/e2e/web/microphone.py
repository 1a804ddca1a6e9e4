"""The browser's microphone: a WAV file, which Chromium plays from its start when a page opens it.

Chromium is told the file's path once, when it starts, and reads the file each time a page opens
the microphone; so one browser serves every test, and each writes what will be said into it first.
"""

from __future__ import annotations

import wave
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from parley_cli.audio.files import read_recording

RATE_HZ = 16_000

Samples = np.ndarray
"""int16 mono PCM at `RATE_HZ`."""


class Microphone:
    """What is said into the browser the next time that a page opens the microphone."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.will_say()

    def will_say(self, *parts: Samples | float, tail_s: float = 60.0) -> Samples:
        """Put recordings and pauses (in seconds) one after another; return the whole.

        Silence follows for `tail_s`, since Chromium begins again at the file's end.
        """
        pieces = [part if isinstance(part, np.ndarray) else silence(part) for part in parts]
        whole = np.concatenate([*pieces, silence(tail_s)])
        # Replaced, not rewritten: who still plays the old one keeps it whole.
        new = self.path.with_suffix(".new")
        with wave.open(str(new), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(RATE_HZ)
            file.writeframes(whole.tobytes())
        new.replace(self.path)
        return whole


def silence(seconds: float) -> Samples:
    """Return so much of nothing."""
    return np.zeros(int(seconds * RATE_HZ), np.int16)


def tone(seconds: float, *, hz: float = 220.0, level: float = 0.25) -> Samples:
    """Return a tone; `level` is a share of full scale. The scripted engine takes it for speech."""
    times = np.arange(int(seconds * RATE_HZ)) / RATE_HZ
    return (np.sin(2 * np.pi * hz * times) * level * 32767).astype(np.int16)


def recordings(folder: Path, names: Sequence[str]) -> list[Samples]:
    """Read recordings of `tests/data/speech`."""
    return [read_recording(folder / name, RATE_HZ).samples for name in names]
