"""Streaming recognition by Moonshine, which decodes whole buffers.

So "streaming" is deciding what to decode again, and not starting from nothing when it is. Audio
longer than the model's limit is cut at its quietest place, and a finished piece is decoded once and
kept. Of the piece that still grows, each result is the draft of the next one: the captions that are
shown while the learner speaks leave little to do when the speech ends.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from services.ai.adapters.moonshine_model import (
    MIN_SAMPLES,
    MoonshineModel,
    Token,
    text_of,
    words_of,
)
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

# Moonshine tiny raises above about nine seconds of audio (measured on the published files).
TINY_PIECE_S = 8.0
# The base model takes more, and cutting costs words. The tail left to decode when speech ends takes
# 110 ms for 2 s, 340 ms for 14 s and 770 ms for 20 s of speech on one core without a draft, hence
# this limit.
BASE_PIECE_S = 14.0
# One utterance; the engine ends a turn before that.
MAX_AUDIO_S = 120.0
# Where a cut may fall: the last 40 % of a piece, at the quietest 100 ms.
_CUT_FROM = 0.6
_QUIET_SAMPLES = LEARNER_RATE_HZ // 10
# Below this root mean square nothing is said: the model would make words up.
_SILENCE_RMS = 0.0008

_Pieces: TypeAlias = list[tuple[tuple[int, int], tuple[Token, ...]]]
"""From and to which sample, and the tokens between."""


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


@dataclass(slots=True)
class _PieceDecoder:
    """The model over growing audio; keeps the tokens of pieces that no longer change."""

    model: MoonshineModel
    limit_s: float
    finished: list[tuple[Token, ...]] = field(default_factory=list)
    # What the last piece was when it was last decoded.
    draft: tuple[Token, ...] = ()

    def decode(self, audio: Pcm16, stopped: Callable[[], bool]) -> _Pieces:
        """Return the tokens of each piece. Blocking; calls must not overlap."""
        bounds = piece_bounds(audio, self.limit_s)
        pieces = []
        for index, (start, end) in enumerate(bounds):
            if index < len(self.finished):
                tokens = self.finished[index]
            else:
                tokens = self._decode_piece(audio[start:end], stopped)
                if not stopped():
                    last = index == len(bounds) - 1
                    self.draft = tokens if last else ()
                    if not last:
                        self.finished.append(tokens)
            pieces.append(((start, end), tokens))
        return pieces

    def _decode_piece(self, audio: Pcm16, stopped: Callable[[], bool]) -> tuple[Token, ...]:
        samples = to_float(audio)
        if is_silent(samples):
            return ()
        return without_loop(self.model.decode(samples, stopped, self.draft))


def is_silent(samples: npt.NDArray[np.float32]) -> bool:
    """Whether ``samples`` are too few or too quiet to say anything."""
    return len(samples) < MIN_SAMPLES or float(np.sqrt(np.mean(samples**2))) < _SILENCE_RMS


def without_loop(tokens: tuple[Token, ...]) -> tuple[Token, ...]:
    """Cut a decoder's loop: the same run of tokens four times or more keeps one.

    Attention decoders loop on noise and on cut words; a person who says a word three times does
    not say it a fourth.
    """
    pieces = [token.piece for token in tokens]
    for start in range(len(pieces)):
        for span in range(1, (len(pieces) - start) // 4 + 1):
            unit = pieces[start : start + span]
            count = 1
            while pieces[start + count * span : start + (count + 1) * span] == unit:
                count += 1
            if count >= 4:
                return without_loop(tokens[: start + span] + tokens[start + count * span :])
    return tokens


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


class MoonshineRecognizer:
    """Recognises English, in pieces of at most ``piece_s``.

    ``again`` hears each utterance a second time when asked to; None: nobody does.
    """

    def __init__(
        self,
        model: MoonshineModel,
        pool: ComputePool,
        *,
        piece_s: float = BASE_PIECE_S,
        again: Again | None = None,
    ) -> None:
        self._model = model
        self._pool = pool
        self._piece_s = piece_s
        self._again = again
        # The first call of a model allocates its memory; nobody should wait for that.
        noise = np.random.default_rng(0).normal(0.0, 0.01, LEARNER_RATE_HZ).astype(np.float32)
        model.decode(noise, lambda: False)

    @property
    def capabilities(self) -> RecognizerCapabilities:
        """English, with partials, confidences, and word times that are estimates."""
        return RecognizerCapabilities(
            partials=True,
            word_timing=WordTiming.ESTIMATED,
            word_confidence=True,
            languages=("en",),
            max_audio_s=MAX_AUDIO_S,
        )

    def open(self) -> MoonshineSession:
        """Start recognising one utterance."""
        decoder = _PieceDecoder(self._model, self._piece_s)
        return MoonshineSession(decoder, self._pool, self._again)


class MoonshineSession:
    """One utterance. Holds its audio, at most ``MAX_AUDIO_S``; later audio is ignored."""

    def __init__(
        self, decoder: _PieceDecoder, pool: ComputePool, again: Again | None = None
    ) -> None:
        self._decoder = decoder
        self._pool = pool
        self._again = again
        self._buffer = np.zeros(samples_of_ms(4000), np.int16)
        self._length = 0
        # One decoding at a time, in the thread as well: a cancelled one may still be ending there.
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

    async def partial(self) -> str | None:
        """Return the words so far, or None when the pool has other work."""
        if self._turn.locked() or not self._pool.is_idle:
            return None
        pieces, _ = await self._decode()
        return " ".join(filter(None, (text_of(tokens) for _, tokens in pieces)))

    async def final(self) -> Transcript:
        """Return the transcript of everything fed so far."""
        pieces, audio = await self._decode()
        words: list[Word] = []
        for (start, end), tokens in pieces:
            words.extend(time_words(words_of(tokens), audio[start:end], ms_of_samples(start)))
        return transcript_of(words, ms_of_samples(len(audio)))

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

    async def _decode(self) -> tuple[_Pieces, Pcm16]:
        stop = threading.Event()
        async with self._turn:
            audio = self._buffer[: self._length]
            try:
                return await self._pool.run(self._decode_alone, audio, stop.is_set), audio
            except asyncio.CancelledError:
                # The thread cannot be cancelled; it looks at this between two tokens.
                stop.set()
                raise

    def _decode_alone(self, audio: Pcm16, stopped: Callable[[], bool]) -> _Pieces:
        with self._in_thread:
            return self._decoder.decode(audio, stopped)


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
