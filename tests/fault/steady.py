"""Whether a figure that is looked at again and again stays where it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

# Caches fill, pools open, code that was not run yet is loaded.
WARM_UP = 0.3


@dataclass(frozen=True, slots=True)
class Allowance:
    """How much more a figure may be at the end: a share of what it was, or so much, the larger."""

    share: float
    at_least: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """How low a figure went after the warm-up, and how low at the end."""

    first: float
    last: float
    allowed: float

    @property
    def is_steady(self) -> bool:
        """Whether it grew no more than is allowed."""
        return self.last - self.first <= self.allowed


def judge(samples: Sequence[float], allowance: Allowance) -> Verdict:
    """Compare the floors of the two halves after the warm-up.

    The floor, because garbage that waits for Python's collector is no leak: a busy service's memory
    rises for some three minutes and falls again.

    Raises:
        ValueError: there are fewer than 12 samples; of those nothing can be said.
    """
    if len(samples) < 12:
        raise ValueError(f"{len(samples)} samples are too few")
    settled = samples[round(len(samples) * WARM_UP) :]
    half = len(settled) // 2
    first, last = min(settled[:half]), min(settled[half:])
    return Verdict(first, last, max(first * allowance.share, allowance.at_least))
