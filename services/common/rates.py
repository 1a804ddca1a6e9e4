"""How often something may happen to one of many: a user, an address, a name.

Each has a bucket that leaks evenly; what happens pours into it, and what would make it overflow
must wait. Full policy: of more than are remembered the one that was longest quiet is forgotten.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable

# A bucket takes about 200 bytes.
_REMEMBERED = 10_000


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
        self._levels[key] = (self._level(key, now) + 1, now)
        self._levels.move_to_end(key)
        if len(self._levels) > _REMEMBERED:
            self._levels.popitem(last=False)

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

    def _level(self, key: Hashable, now: float) -> float:
        level, at = self._levels.get(key, (0.0, now))
        return max(0.0, level - (now - at) * self._per_second)
