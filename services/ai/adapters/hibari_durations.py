"""Word times from Hibari's own durations.

The model predicts how long each phoneme lasts before it makes the sound; its graph keeps that to
itself. `with_durations` gives the graph one output more, and what is here maps phonemes back to
the words of the text: exact to the model's step of 25 ms.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

SAMPLES_PER_STEP = 600
"""Samples at 24 kHz that one step of the predicted durations lasts."""

_DURATIONS = "/Round_output_0"
# What the model pronounces as a pause: it belongs to no word's time.
_PUNCTUATION = frozenset(' ;:,.!?—…"()“”')
# Where a sentence too long for the model is best cut.
_CLAUSE_ENDS = (",", ";", ":", "—")


@dataclass(frozen=True, slots=True)
class SpokenAs:
    """A word of the normalized text and how it is said; ``phonemes`` may be empty."""

    text: str
    phonemes: str


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of audio: samples from its beginning, the end not in it."""

    start: int
    end: int


def with_durations(model: bytes) -> bytes:
    """Return the ONNX model with the phonemes' durations (steps, float32) as its last output.

    A protobuf message appended to another is merged into it, and repeated fields, as the outputs
    of a graph are, grow: nothing of the model has to be parsed.
    """
    tensor_of_floats = _field(1, b"\x08\x01")
    output = _field(1, _DURATIONS.encode()) + _field(2, tensor_of_floats)
    graph = _field(12, output)
    return model + _field(7, graph)


def _field(number: int, payload: bytes) -> bytes:
    """Return a length-delimited protobuf field of fewer than 128 bytes."""
    assert number < 16
    assert len(payload) < 128
    return bytes([number << 3 | 2, len(payload)]) + payload


def pieces(words: Sequence[SpokenAs], most: int) -> Iterator[list[SpokenAs]]:
    """Cut a sentence of more than ``most`` phonemes, after punctuation where there is any."""
    piece: list[SpokenAs] = []
    length = 0
    for word in words:
        if piece and length + 1 + len(word.phonemes) > most:
            cut = next(
                (n for n in range(len(piece), 0, -1) if piece[n - 1].text.endswith(_CLAUSE_ENDS)),
                len(piece),
            )
            yield piece[:cut]
            piece = piece[cut:]
            length = sum(len(kept.phonemes) + 1 for kept in piece)
        piece.append(word)
        length += len(word.phonemes) + 1
    if piece:
        yield piece


def spans(
    words: Sequence[SpokenAs], alphabet: Iterable[str], durations: Sequence[float]
) -> list[Span]:
    """Return where in the audio each word is said.

    ``durations`` has a step count for every phoneme of the alphabet, spaces between the words
    among them, and one for the pause on either side. Pauses for punctuation are in no word.
    """
    known = frozenset(alphabet)
    edges = [round(edge * SAMPLES_PER_STEP) for edge in accumulate(durations, initial=0)]
    found: list[Span] = []
    # The first of the durations is that of the pause before the sentence.
    at = 1
    for index, word in enumerate(words):
        at += index > 0
        said = [character for character in word.phonemes if character in known]
        voiced = [n for n, character in enumerate(said) if character not in _PUNCTUATION]
        first, last = (voiced[0], voiced[-1] + 1) if voiced else (0, 0)
        found.append(Span(edges[at + first], edges[at + last]))
        at += len(said)
    return found


def onto(text: Sequence[str], words: Sequence[SpokenAs], said: Sequence[Span]) -> list[Span]:
    """Map the spans of the normalized words onto the words as they are written.

    Where normalizing changed them ("7:30 pm" to "seven thirty P.M."), the written words share
    the time of what stands in their place, by their letters.
    """
    found: list[Span] = []
    normalized = [word.text for word in words]
    matcher = difflib.SequenceMatcher(a=list(text), b=normalized, autojunk=False)
    for tag, i1, i2, j1, j2 in matcher.get_opcodes():
        if tag == "equal":
            found.extend(said[j1:j2])
            continue
        if tag == "insert":
            continue
        before = found[-1].end if found else 0
        start, end = (said[j1].start, said[j2 - 1].end) if j1 < j2 else (before, before)
        letters = list(accumulate((len(word) for word in text[i1:i2]), initial=0))
        edges = [start + (end - start) * count // letters[-1] for count in letters]
        found.extend(Span(*pair) for pair in pairwise(edges))
    return found
