"""A loudspeaker that is feigned exactly: what it has played by when, from what came when. Pure.

It begins with the first audio, plays without a device's delay, waits where it has run dry, and
stands still while it is told to. Times are seconds of one clock; places are milliseconds of one
reply's audio.
"""

from __future__ import annotations


class Player:
    """Plays one reply."""

    def __init__(self) -> None:
        self.buffered_ms = 0.0
        self._from_ms = 0.0
        self._from_at: float | None = None
        self._paused = False

    def came(self, ms: float, now: float) -> None:
        """So much more audio has come."""
        if not self._paused and (self._from_at is None or self.played_ms(now) >= self.buffered_ms):
            self._from_ms, self._from_at = self.buffered_ms, now
        self.buffered_ms += ms

    def pause(self, now: float) -> None:
        """Stand still."""
        self._from_ms, self._from_at, self._paused = self.played_ms(now), None, True

    def resume(self, now: float) -> None:
        """Go on from where it stands."""
        if self._paused:
            self._from_at, self._paused = now, False

    def played_ms(self, now: float) -> float:
        """Return how much was played by `now`."""
        if self._from_at is None:
            return self._from_ms
        return min(self._from_ms + (now - self._from_at) * 1000, self.buffered_ms)
