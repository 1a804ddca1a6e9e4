"""A sentence heard again by two recognizers, each of which judges what the other heard.

Both list what may have been said; each then reads the sentences that the other found, each in one
pass of its decoder, and says how likely they are. They were trained apart, so where an accent leads
one astray the other seldom follows: the sentence that both can live with is mostly the one that
was said. Log probabilities are added with a weight each (log-linear, Och and Ney 2002).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from services.ai.adapters.beam_search import Decoder, beam_search
from services.ai.adapters.pieces import WORD_MARK, Pieces
from services.ai.transcripts import bare

Floats: TypeAlias = npt.NDArray[np.float32]

# Sums of log probabilities favour the short, and both ears like to end at a pause: what was said
# after it was lost in every third word. Each word is worth this much (a log probability).
_A_WORD = 1.0
# A word that the talk is about is so much likelier than the ear finds it (a log probability). Where
# the talk was about the sentence this righted words, where it was about others it wronged none.
_EXPECTED_WORD = 2.0
# Shares of a sentence are taken over the whole list; sums of log probabilities are too sure.
_SHARPNESS = 0.5


class Reader(Decoder, Protocol):
    """A decoder that listens to one audio, and reads sentences beside it."""

    def score(self, text: Sequence[int]) -> float:
        """Return the log probability of ``text`` and of its end."""


class Ear(Protocol):
    """A recognizer whose doubts can be asked for."""

    @property
    def vocabulary(self) -> Sequence[bytes]:
        """The pieces of text by their numbers."""

    def listen(self, samples: Floats) -> Reader:
        """Encode ``samples`` (16 kHz)."""

    def token_limit(self, samples: int) -> int:
        """Return how many tokens so many samples may have."""


@dataclass(frozen=True, slots=True)
class Weighed:
    """An ear, how much its word counts, and how many beams it searches with."""

    ear: Ear
    weight: float
    width: int


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence as it is written, and how likely it is: a log probability, up to a constant."""

    text: str
    total: float


def spoken(text: str) -> tuple[str, ...]:
    """Return the words of ``text`` without case and punctuation: what can be heard."""
    return tuple(filter(None, (bare(word) for word in text.split())))


class SecondHearing:
    """Several ears. Blocking; safe to call from several threads at once."""

    def __init__(self, ears: Sequence[Weighed]) -> None:
        self._ears = tuple(ears)
        self._pieces = tuple(Pieces(each.ear.vocabulary) for each in ears)

    def hear(
        self,
        samples: Floats,
        expected: Collection[str] = (),
        stopped: Callable[[], bool] = lambda: False,
    ) -> list[tuple[str, float]]:
        """Return the words of ``samples``, each with its confidence; none when it was stopped.

        ``expected`` are words in lower case that the talk is about.
        """
        readers: list[Reader] = []
        found: list[dict[str, float]] = []
        for each in self._ears:
            if stopped():
                return []
            reader = each.ear.listen(samples)
            readers.append(reader)
            found.append(_search(reader, each, len(samples), stopped))
        texts = [text for text in dict.fromkeys(itertools.chain(*found)) if spoken(text)]
        totals = [_prior(text, expected) for text in texts]
        for each, pieces, reader, own in zip(self._ears, self._pieces, readers, found, strict=True):
            if stopped():
                return []
            # What it found itself it has judged. The others it reads one by one: all together would
            # take 170 MB more, and no less time.
            for index, text in enumerate(texts):
                judged = own[text] if text in own else _read(reader, pieces, text)
                totals[index] += each.weight * judged
        return words_with_confidence(
            [Sentence(text, total) for text, total in zip(texts, totals, strict=True)]
        )


def _search(
    reader: Reader, by: Weighed, samples: int, stopped: Callable[[], bool]
) -> dict[str, float]:
    """Return the sentences that an ear finds, and how likely each is to it."""
    found: dict[str, float] = {}
    limit = by.ear.token_limit(samples)
    paths = beam_search(reader, width=by.width, limit=limit, count=by.width, stopped=stopped)
    for path in paths[: by.width]:
        # The likeliest comes first; another way to spell it adds nothing.
        found.setdefault(written(path.tokens, by.ear.vocabulary), path.total)
    return found


def words_with_confidence(sentences: Sequence[Sentence]) -> list[tuple[str, float]]:
    """Return the words of the likeliest sentence, each with the share of the list that has it."""
    known = [each for each in sentences if math.isfinite(each.total)]
    if not known:
        return []
    best = max(known, key=lambda each: each.total)
    shares = [math.exp(_SHARPNESS * (each.total - best.total)) for each in known]
    words = [word for word in best.text.split() if bare(word)]
    chosen = [bare(word) for word in words]
    sure = [0.0] * len(words)
    for each, share in zip(known, shares, strict=True):
        for index in common_places(chosen, spoken(each.text)):
            sure[index] += share
    whole = sum(shares)
    return [(word, min(1.0, have / whole)) for word, have in zip(words, sure, strict=True)]


def common_places(chosen: Sequence[str], other: Sequence[str]) -> list[int]:
    """Return which of the ``chosen`` words ``other`` has too, at the same place of the sentence.

    The places are those of a longest common subsequence.
    """
    rows, columns = len(chosen), len(other)
    longest = [[0] * (columns + 1) for _ in range(rows + 1)]
    for row in range(rows - 1, -1, -1):
        for column in range(columns - 1, -1, -1):
            longest[row][column] = (
                1 + longest[row + 1][column + 1]
                if chosen[row] == other[column]
                else max(longest[row + 1][column], longest[row][column + 1])
            )
    places: list[int] = []
    row = column = 0
    while row < rows and column < columns:
        if chosen[row] == other[column]:
            places.append(row)
            row, column = row + 1, column + 1
        elif longest[row + 1][column] >= longest[row][column + 1]:
            row += 1
        else:
            column += 1
    return places


def _read(reader: Reader, pieces: Pieces, text: str) -> float:
    """Return the log probability of ``text``; minus infinity where it cannot be spelt."""
    tokens = pieces.encode(text)
    return reader.score(tokens) if tokens else -math.inf


def written(tokens: Sequence[int], vocabulary: Sequence[bytes]) -> str:
    """Return the text of ``tokens``."""
    raw = b"".join(vocabulary[token] for token in tokens)
    return raw.decode("utf-8", "replace").replace(WORD_MARK, " ").strip()


def _prior(text: str, expected: Collection[str]) -> float:
    """Return what speaks for ``text`` before anybody has listened."""
    words = spoken(text)
    return _A_WORD * len(words) + _EXPECTED_WORD * sum(word in expected for word in words)
