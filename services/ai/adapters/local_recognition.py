"""What the recognitions on this machine share: audio that grows, and one hearing of it at a time.

Their models decode whole buffers, of limited length, so long audio is cut at its quietest places.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from services.ai.adapters.moonshine_model import MIN_SAMPLES
from services.ai.audio import frame_energies, ms_of_samples, samples_of_ms, to_float
from services.ai.capabilities import (
    LEARNER_RATE_HZ,
    Pcm16,
    RecognizerCapabilities,
    Transcript,
    Word,
    WordTiming,
)
from services.ai.compute import ComputePool
from services.ai.spare_time import SpareTime
from services.ai.transcripts import time_words, transcript_of

# Moonshine base takes more, and cutting costs words. The tail left to decode when speech ends takes
# 110 ms for 2 s, 340 ms for 14 s and 770 ms for 20 s of speech on one core without a draft, hence
# this limit.
BASE_PIECE_S = 14.0
# One utterance; the engine ends a turn before that.
MAX_AUDIO_S = 120.0
# Where a cut may fall: the last 40 % of a piece, at the quietest 100 ms.
_CUT_FROM = 0.6
_QUIET_SAMPLES = LEARNER_RATE_HZ // 10
# Below this root mean square nothing is said: the models would make words up.
_SILENCE_RMS = 0.0008

CAPABILITIES = RecognizerCapabilities(
    partials=True,
    word_timing=WordTiming.ESTIMATED,
    word_confidence=True,
    languages=("en",),
    max_audio_s=MAX_AUDIO_S,
)
"""English, with partials, confidences, and word times that are estimates."""

R = TypeVar("R")


def piece_bounds(audio: Pcm16, limit_s: float) -> list[tuple[int, int]]:
    """Return where to cut ``audio`` into pieces of at most ``limit_s``.

    A bound depends only on the audio before it, so it stays where it is as audio is added.
    """
    limit = int(limit_s * LEARNER_RATE_HZ)
    bounds = []
    start = 0
    while len(audio) - start > limit:
        first = start + int(limit * _CUT_FROM)
        energies = frame_energies(audio[first : start + limit], _QUIET_SAMPLES)
        cut = first + int(energies.argmin()) * _QUIET_SAMPLES + _QUIET_SAMPLES // 2
        bounds.append((start, cut))
        start = cut
    bounds.append((start, len(audio)))
    return bounds


def is_silent(samples: npt.NDArray[np.float32]) -> bool:
    """Whether ``samples`` are too few or too quiet to say anything."""
    return len(samples) < MIN_SAMPLES or float(np.sqrt(np.mean(samples**2))) < _SILENCE_RMS


class HearsPieces(Protocol):
    """What hears a piece of audio a second time. See ``second_hearing.SecondHearing``."""

    def hear(
        self,
        samples: npt.NDArray[np.float32],
        expected: Collection[str],
        stopped: Callable[[], bool],
    ) -> list[tuple[str, float]]:
        """Return the words of ``samples``, each with its confidence. Blocking."""


@dataclass(frozen=True, slots=True)
class Again:
    """Who hears a turn a second time, and the time it takes for it."""

    name: str
    hearing: HearsPieces
    spare: SpareTime


class LocalRecognition:
    """One utterance. Holds its audio, at most ``MAX_AUDIO_S``; later audio is ignored.

    What derives from it says how it is heard. ``again`` hears it a second time; None: nobody does.
    """

    def __init__(self, pool: ComputePool, again: Again | None = None) -> None:
        self._pool = pool
        self._again = again
        self._buffer = np.zeros(samples_of_ms(4000), np.int16)
        self._length = 0
        # One hearing at a time, in the thread as well: a cancelled one may still be ending there.
        self._turn = asyncio.Lock()
        self._in_thread = threading.Lock()

    def feed(self, audio: Pcm16) -> None:
        """Add audio."""
        room = int(MAX_AUDIO_S * LEARNER_RATE_HZ) - self._length
        audio = audio[: max(0, room)]
        end = self._length + len(audio)
        if end > len(self._buffer):
            grown = np.zeros(max(end, 2 * len(self._buffer)), np.int16)
            grown[: self._length] = self._buffer[: self._length]
            self._buffer = grown
        self._buffer[self._length : end] = audio
        self._length = end

    @property
    def again_by(self) -> str:
        """Who hears it a second time."""
        return "" if self._again is None else self._again.name

    async def again(self, expected: Collection[str]) -> Transcript | None:
        """Hear everything once more in spare time. See ``HearsAgain``."""
        if self._again is None:
            return None
        stop = threading.Event()
        audio = self._buffer[: self._length]
        hear = partial(self._again.hearing.hear, expected=expected, stopped=stop.is_set)
        try:
            words = await self._again.spare.run(_hear_pieces, hear, audio, stop.is_set)
        except asyncio.CancelledError:
            # The thread looks at this before each of its longer steps.
            stop.set()
            raise
        return None if words is None else transcript_of(words, ms_of_samples(len(audio)))

    def close(self) -> None:
        """Let the audio go."""
        self._buffer = np.zeros(0, np.int16)
        self._length = 0

    @property
    def _has_time(self) -> bool:
        """Whether nothing is heard, here or by anybody else."""
        return not self._turn.locked() and self._pool.is_idle

    async def _hear(self, hear: Callable[[Pcm16, Callable[[], bool]], R]) -> tuple[R, Pcm16]:
        """Have ``hear`` hear everything fed so far; return what it heard, and the audio.

        It is called in the pool, never twice at once, and looks now and then whether it was
        stopped. Raises ``ProviderBusyError``.
        """
        stop = threading.Event()
        async with self._turn:
            audio = self._buffer[: self._length]
            try:
                return await self._pool.run(self._alone, hear, audio, stop.is_set), audio
            except asyncio.CancelledError:
                # The thread cannot be cancelled.
                stop.set()
                raise

    def _alone(
        self,
        hear: Callable[[Pcm16, Callable[[], bool]], R],
        audio: Pcm16,
        stopped: Callable[[], bool],
    ) -> R:
        with self._in_thread:
            return hear(audio, stopped)


def _hear_pieces(
    hear: Callable[[npt.NDArray[np.float32]], list[tuple[str, float]]],
    audio: Pcm16,
    stopped: Callable[[], bool],
) -> list[Word] | None:
    """Hear ``audio`` piece by piece; None when it was stopped."""
    words: list[Word] = []
    for start, end in piece_bounds(audio, BASE_PIECE_S):
        piece = audio[start:end]
        if is_silent(to_float(piece)):
            continue
        heard = hear(to_float(piece))
        if stopped():
            return None
        words.extend(time_words(heard, piece, ms_of_samples(start)))
    return words
