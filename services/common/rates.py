"""How often something may happen to one of many: a user, an address, a name.

Each has a bucket that leaks evenly; what happens pours into it, and what would make it overflow
must wait. Full policy: of more than are remembered the one that was longest quiet is forgotten.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable

# A bucket takes about 200 bytes.
REMEMBERED = 10_000
"""Most buckets of one size."""


class Rates:
    """Buckets by key, of one size. For one event loop.

    per_second: how fast they leak; burst: how much may come at once.
    """

    def __init__(self, per_second: float, burst: float) -> None:
        self._per_second = per_second
        self._burst = burst
        self._levels: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()

    def wait(self, key: Hashable, now: float) -> float:
        """Return how many seconds one more must wait; 0: none. `now` is monotonic seconds."""
        return max(0.0, (self._level(key, now) + 1 - self._burst) / self._per_second)

    def count(self, key: Hashable, now: float) -> None:
        """Count one."""
        self._put(key, self._level(key, now) + 1, now)

    def give_back(self, key: Hashable, now: float) -> None:
        """Take one back that was counted. A bucket that this empties takes no other's place."""
        if key not in self._levels:
            return
        left = self._level(key, now) - 1
        if left > 0:
            self._levels[key] = (left, now)
        else:
            del self._levels[key]

    def take(self, key: Hashable, now: float) -> float:
        """Count one unless it must wait; return how many seconds, 0 for none."""
        wait = self.wait(key, now)
        if not wait:
            self.count(key, now)
        return wait

    def forget(self, key: Hashable) -> None:
        """Empty the bucket of `key`."""
        self._levels.pop(key, None)

    def _put(self, key: Hashable, level: float, now: float) -> None:
        self._levels[key] = (level, now)
        self._levels.move_to_end(key)
        if len(self._levels) > REMEMBERED:
            self._levels.popitem(last=False)

    def _level(self, key: Hashable, now: float) -> float:
        level, at = self._levels.get(key, (0.0, now))
        return max(0.0, level - (now - at) * self._per_second)


MakeRates = Callable[[str, float, float], Rates]
"""Makes rates by a name, how fast they leak and how much may come at once.

The processes of a service count together what bears the same name, where they share a Redis.
"""


def own_rates(_name: str, per_second: float, burst: float) -> Rates:
    """Make rates that this process counts alone."""
    return Rates(per_second, burst)
