"""How a rewritten sentence differs from what was said. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

_EDGES = re.compile(r"^[^\w]+|[^\w]+$")
# Typed in three ways (U+2019, U+02BC, and a grave accent).
_APOSTROPHES = str.maketrans({"\u2019": "'", "\u02bc": "'", "`": "'"})

# Said either way: neither is a mistake of the other.
_CONTRACTIONS = {
    "i'm": "i am", "you're": "you are", "we're": "we are", "they're": "they are",
    "he's": "he is", "she's": "she is", "it's": "it is", "that's": "that is",
    "there's": "there is", "what's": "what is", "where's": "where is", "who's": "who is",
    "i've": "i have", "you've": "you have", "we've": "we have", "they've": "they have",
    "i'll": "i will", "you'll": "you will", "he'll": "he will", "she'll": "she will",
    "we'll": "we will", "they'll": "they will", "it'll": "it will",
    "i'd": "i would", "you'd": "you would", "we'd": "we would", "they'd": "they would",
    "isn't": "is not", "aren't": "are not", "wasn't": "was not", "weren't": "were not",
    "don't": "do not", "doesn't": "does not", "didn't": "did not", "haven't": "have not",
    "hasn't": "has not", "hadn't": "had not", "won't": "will not", "wouldn't": "would not",
    "can't": "can not", "cannot": "can not", "couldn't": "could not", "shouldn't": "should not",
    "gonna": "going to", "wanna": "want to", "gotta": "got to", "ok": "okay",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Edit:
    """Words ``first`` to ``end`` of what was said, and what the rewriting has there.

    Both are bare: lower case, no punctuation, contractions written out; ``first == end`` where
    something was added. ``spelled`` is the rewriting's own spelling of ``after``.
    """

    first: int
    end: int
    before: tuple[str, ...]
    after: tuple[str, ...]
    spelled: str


def bare(word: str) -> str:
    """Return ``word`` in lower case without the punctuation around it."""
    return _EDGES.sub("", word.translate(_APOSTROPHES)).lower()


def parts(words: Sequence[str]) -> list[str]:
    """Return the bare words with contractions written out."""
    return _pieces(words)[0]


def quoted(words: Sequence[str]) -> str:
    """Return ``words`` as they are quoted: without the punctuation at the ends."""
    return _EDGES.sub("", " ".join(words))


def edits_between(said: Sequence[str], rewritten: Sequence[str]) -> list[Edit]:
    """Return where ``rewritten`` differs from ``said`` in its words, in order.

    Punctuation, capitals and contractions are no differences.
    """
    old, old_at = _pieces(said)
    new, new_at = _pieces(rewritten)
    edits = []
    matcher = SequenceMatcher(None, old, new, autojunk=False)
    for tag, i1, i2, j1, j2 in matcher.get_opcodes():
        if tag == "equal":
            continue
        first = old_at[i1] if i1 < len(old) else len(said)
        end = first if i1 == i2 else old_at[i2 - 1] + 1
        spelled = dict.fromkeys(new_at[j] for j in range(j1, j2))
        edits.append(
            Edit(
                first,
                end,
                tuple(old[i1:i2]),
                tuple(new[j1:j2]),
                quoted([rewritten[index] for index in spelled]),
            )
        )
    return edits


def _pieces(words: Sequence[str]) -> tuple[list[str], list[int]]:
    """Return the bare words with contractions written out, and which word each is of."""
    pieces: list[str] = []
    places: list[int] = []
    for index, word in enumerate(words):
        known = bare(word)
        for piece in _CONTRACTIONS.get(known, known).split():
            pieces.append(piece)
            places.append(index)
    return pieces, places
