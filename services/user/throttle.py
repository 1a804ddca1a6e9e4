"""Slows down guessing: so many failures of one name in a while, then a wait."""

from __future__ import annotations

from collections import OrderedDict

from services.common.errors import ResourceExhausted

# Names remembered. A guesser over many names is limited by the cost of hashing instead.
_REMEMBERED = 10_000


class Throttle:
    """Counts failures by key, forgetting them evenly over the window (a leaky bucket)."""

    def __init__(self, most: int, window_seconds: float) -> None:
        self._most = most
        self._per_second = most / window_seconds
        self._levels: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def check(self, key: str, now: float) -> None:
        """Let one more attempt pass. `now` is monotonic seconds.

        Raises:
            ResourceExhausted: TOO_MANY_ATTEMPTS, with the time to wait.
        """
        level = self._level(key, now)
        if level > self._most - 1:
            raise ResourceExhausted(
                "Too many failed attempts.",
                reason="TOO_MANY_ATTEMPTS",
                retry_after=max(1.0, (level - self._most + 1) / self._per_second),
            )

    def failed(self, key: str, now: float) -> None:
        """Count a failure."""
        self._levels[key] = (self._level(key, now) + 1, now)
        self._levels.move_to_end(key)
        if len(self._levels) > _REMEMBERED:
            self._levels.popitem(last=False)

    def succeeded(self, key: str) -> None:
        """Forget the failures of `key`."""
        self._levels.pop(key, None)

    def _level(self, key: str, now: float) -> float:
        level, at = self._levels.get(key, (0.0, now))
        return max(0.0, level - (now - at) * self._per_second)
