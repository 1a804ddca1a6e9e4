"""Whether a figure that is looked at again and again stays where it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

# Caches fill, pools open, code that was not run yet is loaded.
WARM_UP = 0.3


@dataclass(frozen=True, slots=True)
class Allowance:
    """How much more a figure may be at the end: a share of what it was, or so much, the larger."""

    share: float
    at_least: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a figure was after the warm-up, and what it came to."""

    first: float
    last: float
    allowed: float

    @property
    def is_steady(self) -> bool:
        """Whether it grew no more than is allowed."""
        return self.last - self.first <= self.allowed


def judge(samples: Sequence[float], allowance: Allowance) -> Verdict:
    """Compare the first and the last quarter after the warm-up, each by its median.

    Raises:
        ValueError: there are fewer than 12 samples; of those nothing can be said.
    """
    if len(samples) < 12:
        raise ValueError(f"{len(samples)} samples are too few")
    settled = samples[round(len(samples) * WARM_UP) :]
    quarter = len(settled) // 4
    first, last = median(settled[:quarter]), median(settled[-quarter:])
    return Verdict(first, last, max(first * allowance.share, allowance.at_least))
