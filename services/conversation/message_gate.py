"""How many messages a client may send: what a conversation needs, with room for bursts. Pure."""

from __future__ import annotations

from services.common.limits import DEFAULT_LIMITS

# What piled up in the longest break that a client resumes after comes at once.
BURST_S = DEFAULT_LIMITS.message_burst_seconds


class MessageGate:
    """Tells whether one more message may come.

    Full policy: time earns room, up to `BURST_S` of it; a message without room is refused.
    """

    __slots__ = ("_at", "_most", "_per_s", "_room")

    def __init__(self, per_s: int) -> None:
        self._per_s = per_s
        self._most = per_s * BURST_S
        self._room = self._most
        self._at: float | None = None

    def admits(self, now: float) -> bool:
        """Count one message at `now`, in monotonic seconds; tell whether it may come."""
        if self._at is not None:
            self._room = min(self._room + (now - self._at) * self._per_s, self._most)
        self._at = now
        if self._room < 1:
            return False
        self._room -= 1
        return True
