"""Streaming recognition by Moonshine, which decodes whole buffers.

So "streaming" is deciding what to decode again, and not starting from nothing when it is. Audio
longer than the model's limit is cut at its quietest place, and a finished piece is decoded once and
kept. Of the piece that still grows, each result is the draft of the next one: the captions that are
shown while the learner speaks leave little to do when the speech ends.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np

from services.ai.adapters.local_recognition import (
    BASE_PIECE_S,
    CAPABILITIES,
    Again,
    LocalRecognition,
    is_silent,
    piece_bounds,
)
from services.ai.adapters.moonshine_model import MoonshineModel, Token, text_of, words_of
from services.ai.audio import ms_of_samples, to_float
from services.ai.capabilities import (
    LEARNER_RATE_HZ,
    Pcm16,
    RecognizerCapabilities,
    Transcript,
    Word,
)
from services.ai.compute import ComputePool
from services.ai.transcripts import time_words, transcript_of

# Moonshine tiny raises above about nine seconds of audio (measured on the published files).
TINY_PIECE_S = 8.0

_Pieces: TypeAlias = list[tuple[tuple[int, int], tuple[Token, ...]]]
"""From and to which sample, and the tokens between."""


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
        """What all on this machine have."""
        return CAPABILITIES

    def open(self) -> MoonshineSession:
        """Start recognising one utterance."""
        decoder = _PieceDecoder(self._model, self._piece_s)
        return MoonshineSession(decoder, self._pool, self._again)


class MoonshineSession(LocalRecognition):
    """One utterance."""

    def __init__(
        self, decoder: _PieceDecoder, pool: ComputePool, again: Again | None = None
    ) -> None:
        super().__init__(pool, again)
        self._decoder = decoder

    async def partial(self) -> str | None:
        """Return the words so far, or None when the pool has other work."""
        if not self._has_time:
            return None
        pieces, _ = await self._hear(self._decoder.decode)
        return " ".join(filter(None, (text_of(tokens) for _, tokens in pieces)))

    async def final(self) -> Transcript:
        """Return the transcript of everything fed so far."""
        pieces, audio = await self._hear(self._decoder.decode)
        words: list[Word] = []
        for (start, end), tokens in pieces:
            words.extend(time_words(words_of(tokens), audio[start:end], ms_of_samples(start)))
        return transcript_of(words, ms_of_samples(len(audio)))
