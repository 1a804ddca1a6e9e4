"""Whether a figure that is looked at again and again stays where it is, and what its noise hides.

A line is laid through the floors of the run's parts, for what is in progress only ever adds. It is
Theil's and Sen's: the median of the slopes between all pairs, which a third of wild parts does not
move. How far it may be off is taken from what the floors differ from it, and is the wider the more
neighbours resemble each other: a wave shorter than the run is no knowledge of its slope.

So much growth an hour as must not be overlooked is named (`Allowance`), and there are three
answers. Steady: that much is ruled out. Growing: it is not, and no growth is. Unclear: neither is,
and the run was too short for the noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

# Caches fill, pools open, code that was not run yet is loaded.
WARM_UP = 0.3
PARTS = 24
# Two standard errors: one steady figure in forty looks as if it grew, or hides it.
_ERRORS = 2.0
_MOST_ALIKE = 0.9


class Answer(StrEnum):
    """What can be said of a figure."""

    STEADY = "steady"
    GROWING = "GROWS"
    UNCLEAR = "unclear"


@dataclass(frozen=True, slots=True)
class Allowance:
    """The growth that must not be overlooked: so much an hour; in a short run, so much in all."""

    per_hour: float
    in_all: float

    def bound(self, hours: float) -> float:
        """Return it in figures an hour, for a run of so many."""
        return max(self.per_hour, self.in_all / hours)


@dataclass(frozen=True, slots=True)
class Verdict:
    """A figure's floor when it was warm and at the end, and how it grows, each an hour.

    noise: by how much the growth may be off, either way.
    bound: the growth that must not be overlooked.
    """

    first: float
    last: float
    growth: float
    noise: float
    bound: float

    @property
    def answer(self) -> Answer:
        """What can be said of it."""
        if self.growth + self.noise < self.bound:
            return Answer.STEADY
        return Answer.GROWING if self.growth > self.noise else Answer.UNCLEAR


def judge(samples: Sequence[float], hours: float, allowance: Allowance) -> Verdict:
    """Judge a figure that was looked at at even distances in a run of so many hours.

    Raises:
        ValueError: after the warm-up there are fewer than two looks for each part.
    """
    settled = np.asarray(samples[round(len(samples) * WARM_UP) :], np.float64)
    if len(settled) < 2 * PARTS:
        raise ValueError(f"{len(samples)} looks are too few")
    floors = np.array([part.min() for part in np.array_split(settled, PARTS)])
    hour = hours * len(settled) / len(samples) * (np.arange(PARTS) + 0.5) / PARTS
    one, other = np.triu_indices(PARTS, 1)
    growth = float(np.median((floors[other] - floors[one]) / (hour[other] - hour[one])))
    noise = _ERRORS * _standard_error(floors - growth * hour, hour)
    third = PARTS // 3
    first, last = float(floors[:third].min()), float(floors[-third:].min())
    return Verdict(first, last, growth, noise, allowance.bound(hours))


def _standard_error(left: np.ndarray, hour: np.ndarray) -> float:
    """Return a slope's standard error, from what it leaves unexplained.

    Neighbours that are alike count as one: the usual correction for a first-order process.
    """
    left = left - left.mean()
    square = float(left @ left)
    if not square:
        return 0.0
    alike = min(max(float(left[1:] @ left[:-1]) / square, 0.0), _MOST_ALIKE)
    spread = float(((hour - hour.mean()) ** 2).sum())
    return float(np.sqrt(square / (len(left) - 2) / spread * (1 + alike) / (1 - alike)))
