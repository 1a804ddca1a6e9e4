"""Sending a reply only as far ahead of its playback as the client's buffer needs. Pure.

What has been sent cannot be called back, so an interruption wastes at most the lead.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from services.common.limits import DEFAULT_LIMITS

# Rides out a network's hiccup (99 % of round trips on mobile networks stay under it), and is the
# size of the first burst.
LEAD_MS = 600

# Longer than any reply the models are allowed. Full policy: the rest of the reply is
# refused by `push`, and the reply ends where the queue does. (Reading less from the engine
# instead would hold back the events that interrupt.)
MAX_QUEUED_MS = DEFAULT_LIMITS.max_reply_queued_ms

# Times are floats: a tick may come this much before the position it was set for.
_ROUNDING_MS = 0.01


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of reply: audio (`pcm`), or text (no `pcm`) that belongs at `offset_ms`.

    text_index: which of the turn's text pieces this is, for text.
    """

    offset_ms: int
    duration_ms: int
    pcm: bytes = b""
    text_index: int = -1


class Pacer:
    """The queue of one reply, in the engine's order."""

    def __init__(self, lead_ms: int = LEAD_MS, max_queued_ms: int = MAX_QUEUED_MS) -> None:
        self._lead_ms = lead_ms
        self._max_queued_ms = max_queued_ms
        self._queue: deque[Piece] = deque()
        self._queued_ms = 0

    def __len__(self) -> int:
        return len(self._queue)

    def push(self, piece: Piece) -> bool:
        """Add a piece; False when the queue is full, and the piece was not taken."""
        if self._queued_ms + piece.duration_ms > self._max_queued_ms:
            return False
        self._queue.append(piece)
        self._queued_ms += piece.duration_ms
        return True

    def pop_due(self, position_ms: float) -> Piece | None:
        """Take out the next piece if it may be sent with playback at `position_ms`."""
        if not self._queue or self._queue[0].offset_ms > position_ms + self._lead_ms + _ROUNDING_MS:
            return None
        piece = self._queue.popleft()
        self._queued_ms -= piece.duration_ms
        return piece

    @property
    def next_position_ms(self) -> int | None:
        """The playback position at which the next piece may go; None when none waits."""
        return self._queue[0].offset_ms - self._lead_ms if self._queue else None
