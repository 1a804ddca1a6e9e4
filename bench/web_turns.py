"""The wait for an answer, by one rule for every client: sound in, sound out, on one clock. Pure.

A client gives what its microphone heard and what left its player (`tests.e2e.web.taps.Stretch`).
The end of speech is that of the recording, found by energy alone (`parley_cli.audio.speech_end`),
at the place where the recording lies in what was heard; the answer begins with the first sample
beyond -40 dBFS that left the player after it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import soxr

from bench.live import RATE_HZ
from parley_cli.audio.files import Samples
from parley_cli.audio.speech_end import speech_end_sample
from tests.e2e.web.taps import Stretch

LEAD_IN_S = 1.0
"""What a microphone hears before anybody talks; the first blocks of a tap are missing."""

ANSWERED_WITHIN_S = 60.0

TAIL_S = 0.4
"""Waited for after the first sound, for what was tapped to arrive; then the talk is ended."""


@dataclass(frozen=True, slots=True)
class Wait:
    """What became of one recording.

    Attributes:
        ms: the learner's wait; None where nothing was said after the recording's end.
        early: the tutor spoke before it: it was taken for over in the middle, and `ms` is None.
        trouble: what broke the talk; empty where it only got no answer.
        cpu_s: CPU seconds from the click to the answer, by what used them.
        seconds: for how long that was.
    """

    ms: float | None = None
    early: bool = False
    trouble: str = ""
    cpu_s: Mapping[str, float] = field(default_factory=dict)
    seconds: float = 0.0

    def __str__(self) -> str:
        """Say it in a word."""
        if self.early:
            return "too early"
        if self.ms is None:
            return f"no answer ({self.trouble})" if self.trouble else "no answer"
        return f"{self.ms:.0f} ms"


def wait_of(
    heard: Stretch,
    played: Stretch,
    recording: Samples,
    cpu_s: Mapping[str, float] | None = None,
    seconds: float = 0.0,
) -> Wait:
    """Return the wait from the end of `recording` in `heard` to the first sound of `played`.

    Raises:
        ValueError: the recording holds no speech.
    """
    end = speech_end_sample(recording, RATE_HZ)
    if end is None:
        raise ValueError("the recording holds no speech")
    began_ms = heard.begin_ms + place_of(recording, heard) * 1000 / RATE_HZ
    ended_ms = began_ms + end * 1000 / RATE_HZ
    sounds = played.loud_at()
    after = sounds[sounds > ended_ms]
    early = bool(np.any((sounds > began_ms) & (sounds <= ended_ms)))
    ms = float(after[0] - ended_ms) if len(after) and not early else None
    return Wait(ms, early, cpu_s=cpu_s or {}, seconds=seconds)


def place_of(recording: Samples, heard: Stretch) -> int:
    """Return where `recording` begins in `heard`, in samples at `RATE_HZ`, by correlation."""
    whole = heard.samples.astype(np.float32)
    if heard.rate_hz != RATE_HZ:
        whole = soxr.resample(whole, heard.rate_hz, RATE_HZ)
    length = len(whole) + len(recording)
    spectrum = np.fft.rfft(whole, length) * np.conj(np.fft.rfft(recording, length))
    return int(np.argmax(np.fft.irfft(spectrum, length)[: len(whole)]))


def answered(waits: Sequence[Wait]) -> list[float]:
    """Return the waits of what was answered, in milliseconds."""
    return [each.ms for each in waits if each.ms is not None]


def paired(before: Sequence[Wait], after: Sequence[Wait]) -> list[float]:
    """Return by how much each of `after` is longer than its `before`, where both were answered."""
    return [
        then.ms - first.ms
        for first, then in zip(before, after, strict=True)
        if first.ms is not None and then.ms is not None
    ]


def cpu_a_second(waits: Sequence[Wait]) -> dict[str, float]:
    """Return how many CPU seconds each second of talk took, by what used them."""
    seconds = sum(each.seconds for each in waits)
    names = dict.fromkeys(name for each in waits for name in each.cpu_s)
    return {
        name: sum(each.cpu_s.get(name, 0.0) for each in waits) / seconds
        for name in names
        if seconds > 0
    }
