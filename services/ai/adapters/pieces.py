"""Text as a decoder's tokens, by byte pair encoding (Sennrich et al. 2016, arXiv 1508.07909).

A vocabulary that was made by merging pairs is numbered in the order of its merges, so it is all
that is needed: the pair whose union has the lowest number is merged first.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

WORD_MARK = "\u2581"
"""Begins a piece that begins a word."""


class Pieces:
    """The pieces of a vocabulary by their number; those without bytes are marks, not text."""

    def __init__(self, vocabulary: Sequence[bytes]) -> None:
        # Some vocabularies have a character twice: first as a byte, for what they lack otherwise,
        # and later as itself, which is what their decoders write.
        self._numbers = {piece: number for number, piece in enumerate(vocabulary) if piece}

    def encode(self, text: str) -> tuple[int, ...] | None:
        """Return the tokens of ``text``, each word after a mark; None where one cannot be said."""
        tokens: list[int] = []
        for word in text.split():
            pieces = self._word(word)
            if pieces is None:
                return None
            tokens.extend(pieces)
        return tuple(tokens)

    def _word(self, word: str) -> list[int] | None:
        mark = WORD_MARK.encode()
        whole = self._numbers.get(mark + word.encode())
        if whole is not None:
            return [whole]
        parts = [mark, *_units(word, self._numbers)]
        while len(parts) > 1:
            pairs = [
                (self._numbers[one + other], index)
                for index, (one, other) in enumerate(itertools.pairwise(parts))
                if one + other in self._numbers
            ]
            if not pairs:
                break
            _, index = min(pairs)
            parts[index : index + 2] = [parts[index] + parts[index + 1]]
        if any(part not in self._numbers for part in parts):
            return None
        return [self._numbers[part] for part in parts]


def _units(word: str, known: dict[bytes, int]) -> list[bytes]:
    """Return the characters that the vocabulary has whole, and the bytes of the others."""
    units: list[bytes] = []
    for character in word:
        whole = character.encode()
        units.extend([whole] if whole in known else [bytes((byte,)) for byte in whole])
    return units
