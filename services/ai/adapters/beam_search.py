"""Beam search over a decoder, and the greedy path among its beams.

The likeliest next token at each step is not always the way to the likeliest sentence, least of all
where an accent leaves the decoder in doubt. So the ``width`` best beginnings go on side by side; a
decoder that takes them as one batch needs little longer for five than for one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

Row: TypeAlias = npt.NDArray[np.float32]
"""A score (logit) for each token of the vocabulary."""

# A token this much less likely than the best (its logarithm) begins nothing that wins.
_HOPELESS = 12.0


class Decoder(Protocol):
    """A decoder that listens to one audio."""

    @property
    def end(self) -> int:
        """The token that ends a text."""

    def begin(self) -> Row:
        """Return the scores of what a text may begin with."""

    def extend(self, parents: Sequence[int], tokens: Sequence[int]) -> npt.NDArray[np.float32]:
        """Return the scores of what may follow, a row for each of ``tokens``.

        ``tokens[i]`` follows row ``parents[i]`` of the call before; ``begin`` counts as one row.
        """


@dataclass(frozen=True, slots=True)
class Path:
    """Tokens without the end, and the log probability of each, the end's included if it came."""

    tokens: tuple[int, ...]
    log_probabilities: tuple[float, ...]

    @property
    def score(self) -> float:
        """The mean log probability: sums favour the short."""
        return sum(self.log_probabilities) / max(1, len(self.log_probabilities))


@dataclass(frozen=True, slots=True)
class _Open:
    path: Path
    total: float
    greedy: bool


@dataclass(frozen=True, slots=True)
class _Next:
    parent: int
    token: int
    log_probability: float
    total: float
    greedy: bool


def beam_search(
    decoder: Decoder, *, width: int, limit: int, stopped: Callable[[], bool] = lambda: False
) -> list[Path]:
    """Return what was found, best score first; at least one path.

    With ``width`` 1 that is the greedy path alone. With more, the greedy path is always among the
    beams, so that the best is never worse. No path has more than ``limit`` tokens, and none is
    followed further once ``stopped()``.
    """
    done: list[Path] = []
    beams = [_Open(Path((), ()), 0.0, greedy=True)]
    rows = decoder.begin()[None]
    while True:
        following = _following(rows, beams, 2 * width)
        beams, parents = _choose(following, beams, width, decoder.end, done)
        if not beams or stopped() or len(beams[0].path.tokens) >= limit:
            break
        if len(done) >= width and not any(beam.greedy for beam in beams):
            worst = sorted((path.score for path in done), reverse=True)[width - 1]
            if max(beam.path.score for beam in beams) <= worst:
                break
        rows = decoder.extend(parents, [beam.path.tokens[-1] for beam in beams])
    if not done or (beams and stopped()) or any(beam.greedy for beam in beams):
        # Cut where it had to stop.
        done.extend(beam.path for beam in beams)
    return sorted(done, key=lambda path: path.score, reverse=True)


def _following(rows: npt.NDArray[np.float32], beams: Sequence[_Open], count: int) -> list[_Next]:
    """Return the ``count`` best next tokens, best total first, and what greed would do."""
    found: list[_Next] = []
    for parent, (row, beam) in enumerate(zip(rows, beams, strict=True)):
        top = float(row.max())
        log_sum = top + float(np.log(np.exp(row - top).sum()))
        near = np.flatnonzero(row >= top - _HOPELESS)
        best = near[np.argsort(-row[near], kind="stable")[:count]]
        for place, token in enumerate(best.tolist()):
            log_probability = float(row[token]) - log_sum
            total = beam.total + log_probability
            greedy = beam.greedy and place == 0
            found.append(_Next(parent, token, log_probability, total, greedy))
    found.sort(key=lambda each: -each.total)
    return [each for place, each in enumerate(found) if place < count or each.greedy]


def _choose(
    following: Sequence[_Next], beams: Sequence[_Open], width: int, end: int, done: list[Path]
) -> tuple[list[_Open], list[int]]:
    """Return the beams that go on and the rows they follow; put those that end into ``done``."""
    open_: list[_Open] = []
    parents: list[int] = []
    left = width
    for index, each in enumerate(following):
        greed_waits = any(other.greedy for other in following[index + 1 :])
        if left - (greed_waits and not each.greedy) < 1 and not each.greedy:
            continue
        before = beams[each.parent].path
        log_probabilities = (*before.log_probabilities, each.log_probability)
        if each.token == end:
            done.append(Path(before.tokens, log_probabilities))
            # An end takes a place only where it is the only way on: greedy search ends with it.
            left -= width == 1
            continue
        path = Path((*before.tokens, each.token), log_probabilities)
        open_.append(_Open(path, each.total, each.greedy))
        parents.append(each.parent)
        left -= 1
    return open_, parents
