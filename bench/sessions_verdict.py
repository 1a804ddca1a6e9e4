"""When a server carries so many sessions: one rule, for every system that is measured.

The verdict on a count is that of the median of three tries, so the third is left out where two
agree. A try that was disturbed (the load itself was late, or others used the server's core) counts
for neither side, passed or failed, and is repeated. A count without a verdict after `MOST_TRIES` is
not carried.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from bench.sessions_load import Step

# A frame later than this is heard: it is twice what a player holds back.
LATE_MS = 40.0

_AGREEING = 2
MOST_TRIES = 6


def verdict(tries: Sequence[Step]) -> bool | None:
    """Say whether the count of `tries` is carried; None: it must be tried again."""
    passed = [step.p99_ms <= LATE_MS for step in _undisturbed(tries)]
    if passed.count(True) == _AGREEING:
        return True
    if passed.count(False) == _AGREEING or len(tries) >= MOST_TRIES:
        return False
    return None


def lateness_ms(tries: Sequence[Step]) -> float:
    """Return the median of the tries' 99th percentiles of lateness."""
    return statistics.median_low([step.p99_ms for step in _undisturbed(tries)])


def _undisturbed(tries: Sequence[Step]) -> list[Step]:
    return [step for step in tries if step.is_undisturbed]
