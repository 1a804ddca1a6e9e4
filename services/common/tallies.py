"""How many of something each of many has now: calls in progress, places, files on their way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator
from contextlib import contextmanager


class Tallies:
    """Counts by key. One that is back at none is forgotten: strangers choose some of the keys."""

    def __init__(self) -> None:
        self._counts: Counter[Hashable] = Counter()

    def of(self, key: Hashable) -> int:
        """Return how many `key` has."""
        return self._counts[key]

    def add(self, key: Hashable) -> None:
        """Count one more of `key`'s; `remove` must follow."""
        self._counts[key] += 1

    def remove(self, key: Hashable) -> None:
        """Count one less."""
        self._counts[key] -= 1
        if not self._counts[key]:
            del self._counts[key]

    @contextmanager
    def one_more(self, key: Hashable) -> Iterator[None]:
        """Count one more of `key`'s for a block."""
        self.add(key)
        try:
            yield
        finally:
            self.remove(key)

    def __len__(self) -> int:
        """Return how many keys have any."""
        return len(self._counts)
