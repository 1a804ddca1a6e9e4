"""Beam search over a decoder.

The likeliest next token at each step is not always the way to the likeliest sentence, least of all
where an accent leaves the decoder in doubt. So the ``width`` best beginnings go on side by side; a
decoder that takes them as one batch needs little longer for five than for one.

Sentences are compared by the log probability of the whole, not by its mean: a decoder that has not
heard enough silence to find its end says the sentence again and again, and each time is surer.
"""

from __future__ import annotations

import math
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
    def total(self) -> float:
        """The log probability of the whole."""
        return sum(self.log_probabilities)


@dataclass(frozen=True, slots=True)
class _Next:
    parent: int
    token: int
    log_probability: float
    total: float


def beam_search(
    decoder: Decoder,
    *,
    width: int,
    limit: int,
    count: int = 1,
    margin: float = math.inf,
    stopped: Callable[[], bool] = lambda: False,
) -> list[Path]:
    """Return what was found, likeliest first; at least one path.

    The search ends once ``count`` finished paths are likelier than all that go on: nothing that
    follows makes a path likelier. With ``width`` 1 it is greedy. No path has more than ``limit``
    tokens. None is followed further that is by ``margin`` (a log probability) less likely than the
    likeliest that is, and none once ``stopped()``.
    """
    done: list[Path] = []
    open_ = [Path((), ())]
    rows = decoder.begin()[None]
    while True:
        following = _following(rows, open_, 2 * width)
        open_, parents = _choose(following, open_, width, decoder.end, done)
        if not open_ or stopped() or len(open_[0].tokens) >= limit:
            break
        done.sort(key=lambda path: -path.total)
        if len(done) >= count and done[count - 1].total >= open_[0].total:
            break
        near = sum(path.total >= open_[0].total - margin for path in open_)
        open_, parents = open_[:near], parents[:near]
        rows = decoder.extend(parents, [path.tokens[-1] for path in open_])
    if not done or (open_ and stopped()):
        # Cut where it had to stop.
        done.extend(open_)
    return sorted(done, key=lambda path: -path.total)


def _following(rows: npt.NDArray[np.float32], open_: Sequence[Path], count: int) -> list[_Next]:
    """Return the ``count`` best next tokens, best total first."""
    found: list[_Next] = []
    for parent, (row, path) in enumerate(zip(rows, open_, strict=True)):
        top = float(row.max())
        log_sum = top + float(np.log(np.exp(row - top).sum()))
        before = path.total
        near = np.flatnonzero(row >= top - _HOPELESS)
        if len(near) > count:
            near = near[np.argpartition(-row[near], count)[:count]]
        for token in near[np.argsort(-row[near], kind="stable")].tolist():
            log_probability = float(row[token]) - log_sum
            found.append(_Next(parent, token, log_probability, before + log_probability))
    found.sort(key=lambda each: -each.total)
    return found[:count]


def _choose(
    following: Sequence[_Next], before: Sequence[Path], width: int, end: int, done: list[Path]
) -> tuple[list[Path], list[int]]:
    """Return the paths that go on and the rows they follow; put those that end into ``done``."""
    open_: list[Path] = []
    parents: list[int] = []
    for each in following:
        if len(open_) == width:
            break
        path = before[each.parent]
        log_probabilities = (*path.log_probabilities, each.log_probability)
        if each.token != end:
            open_.append(Path((*path.tokens, each.token), log_probabilities))
            parents.append(each.parent)
            continue
        done.append(Path(path.tokens, log_probabilities))
        if width == 1:
            break
    return open_, parents
