"""Where samples go on a track's time line. Pure arithmetic."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

SAMPLE_BYTES = 2
"""PCM_S16LE, one channel: the only form in which live audio comes."""


@dataclass(frozen=True, slots=True)
class Placement:
    """How to add a stretch to the end of a track, in samples.

    silence: to write first, because nothing came for that time.
    skip: to leave out of the stretch's beginning, because they are there already.
    take: to write after that; 0 when all of the stretch is there.
    """

    silence: int
    skip: int
    take: int


def place(length: int, first: int, count: int) -> Placement:
    """Place `count` samples that begin at `first` on a track of `length` samples."""
    skip = min(max(length - first, 0), count)
    take = count - skip
    return Placement(silence=max(first - length, 0) if take else 0, skip=skip, take=take)


def samples_to_ms(samples: int, rate_hz: int) -> int:
    """Return the milliseconds that hold `samples`, rounded up: no sample is left outside."""
    return -(-samples * 1000 // rate_hz)


def ms_to_samples(milliseconds: int, rate_hz: int) -> int:
    """Return the samples in `milliseconds`, rounded up."""
    return -(-milliseconds * rate_hz // 1000)


def common_duration_ms(said_ms: int, tracks: Iterable[tuple[int, int]]) -> int:
    """Return the duration of a recording whose tracks have (samples, rate in hertz).

    It is what the conversation said it was, or more where a track is longer: a sample that was
    stored is never cut off.
    """
    return max([said_ms, *(samples_to_ms(samples, rate) for samples, rate in tracks)])
