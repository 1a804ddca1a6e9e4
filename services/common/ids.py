"""Identifiers: UUID version 7 (RFC 9562), so that ids sort by the time they were made."""

from __future__ import annotations

import os
import threading
import time

_lock = threading.Lock()
_last = 0


def new_id() -> str:
    """Return a new UUIDv7 in its usual 36-character form.

    Ids made by one process are strictly increasing: the 12 bits after the millisecond are a
    counter seeded at random (RFC 9562, section 6.2, method 1), which runs over into the
    millisecond when it is full. Safe to call from any thread.
    """
    global _last  # noqa: PLW0603 - one order for the whole process is the point
    random = os.urandom(10)
    with _lock:
        # Time and counter are one 60-bit number, so running over is plain addition. The seed
        # keeps its top bit clear, leaving room for at least 2048 ids in a millisecond.
        seed = int.from_bytes(random[:2], "big") & 0x7FF
        tick = (time.time_ns() // 1_000_000) << 12 | seed
        if tick >> 12 <= _last >> 12:
            tick = _last + 1
        _last = tick
    tail = int.from_bytes(random[2:], "big") & ((1 << 62) - 1)
    value = (tick >> 12) << 80 | 0x7 << 76 | (tick & 0xFFF) << 64 | 0b10 << 62 | tail
    # By hand, since every call gets one: uuid.UUID takes twice as long for the same text.
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
