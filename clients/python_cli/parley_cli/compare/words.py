"""How far what was recognised is from what was said, word by word. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

_WORD = re.compile(r"[^\W_]+(?:['\N{RIGHT SINGLE QUOTATION MARK}][^\W_]+)*")


@dataclass(frozen=True, slots=True)
class Pair:
    """A word that was said beside the one that was recognised; None where there is none."""

    said: str | None
    heard: str | None

    @property
    def is_right(self) -> bool:
        """Whether they are the same."""
        return self.said == self.heard


def words_of(text: str) -> list[str]:
    """Return the words of ``text`` as they are compared: no case, no punctuation."""
    found = _WORD.findall(text.lower().replace("-", " "))
    return [word.replace("\N{RIGHT SINGLE QUOTATION MARK}", "").replace("'", "") for word in found]


def aligned(said: Sequence[str], heard: Sequence[str]) -> list[Pair]:
    """Return both side by side with the fewest differences (Levenshtein, over words)."""
    costs = [list(range(len(heard) + 1))]
    for row, word in enumerate(said, 1):
        line = [row]
        for column, other in enumerate(heard, 1):
            changed = costs[row - 1][column - 1] + (word != other)
            line.append(min(changed, costs[row - 1][column] + 1, line[column - 1] + 1))
        costs.append(line)
    pairs: list[Pair] = []
    row, column = len(said), len(heard)
    while row or column:
        # Words that are the same belong together; of ways that cost the same, the one that leaves
        # a word alone says more than the one that takes it for another.
        if row and column and said[row - 1] == heard[column - 1]:
            row, column = row - 1, column - 1
            pairs.append(Pair(said[row], heard[column]))
        elif column and costs[row][column] == costs[row][column - 1] + 1:
            column -= 1
            pairs.append(Pair(None, heard[column]))
        elif row and costs[row][column] == costs[row - 1][column] + 1:
            row -= 1
            pairs.append(Pair(said[row], None))
        else:
            row, column = row - 1, column - 1
            pairs.append(Pair(said[row], heard[column]))
    return pairs[::-1]


def error_count(said: str, heard: str) -> tuple[int, int]:
    """Return how many words were wrong, left out or put in, and how many were said."""
    words = words_of(said)
    pairs = aligned(words, words_of(heard))
    return sum(not pair.is_right for pair in pairs), len(words)
