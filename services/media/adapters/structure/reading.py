"""What the walks through all kinds of files have in common."""

from __future__ import annotations

import struct
from typing import BinaryIO, Final

from services.media.problems import Problem, Refused

MOST_CHANNELS: Final = 8
"""Seven places around a listener and one for the deep sounds."""

HIGHEST_RATE_HZ: Final = 384_000
"""What studio equipment goes to."""

BUFFER_BYTES: Final = 1024 * 1024
"""Read at once of what is looked at from end to end."""


def check_sound(channels: int, rate_hz: int) -> None:
    """Refuse what no equipment makes."""
    if not 1 <= channels <= MOST_CHANNELS or not 1 <= rate_hz <= HIGHEST_RATE_HZ:
        raise Refused(Problem.DAMAGED)


def require_zeros(file: BinaryIO, at: int, end: int) -> None:
    """Refuse anything but filling between two places."""
    while at < end:
        piece = read(file, at, BUFFER_BYTES)
        if piece.count(0) != len(piece):
            raise Refused(Problem.FOREIGN)
        at += len(piece)


def exactly(file: BinaryIO, at: int, length: int) -> bytes:
    """Return exactly so many bytes.

    Raises:
        Refused: TRUNCATED.
    """
    data = read(file, at, length)
    if len(data) < length:
        raise Refused(Problem.TRUNCATED)
    return data


def read(file: BinaryIO, at: int, length: int) -> bytes:
    """Return at most so many bytes; fewer only at the end."""
    file.seek(at)
    return file.read(length)


def number(data: bytes, form: str) -> int:
    """Return a number from all of `data`, as `struct` writes its form."""
    return int(struct.unpack(form, data)[0])
