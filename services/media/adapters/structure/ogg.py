"""Ogg: pages (RFC 3533).

A stream should say which page is its last; voice notes of some phones do not, and whoever reads
Opus is told to bear it (RFC 7845, 3). So what ends with a whole page is taken for whole.
"""

from __future__ import annotations

from typing import BinaryIO, Final

from services.media.adapters.structure.reading import number, read
from services.media.problems import Problem, Refused

_MOST_STREAMS: Final = 16
_LAST_PAGE: Final = 4


def walk(file: BinaryIO, size: int) -> None:
    """Read the structure of a file of `size` bytes.

    Raises:
        Refused: DAMAGED, TRUNCATED, or FOREIGN.
    """
    at = 0
    open_streams: set[int] = set()
    seen = 0
    while at < size:
        head = read(file, at, 27)
        if head[:4] != b"OggS"[: len(head)] or head[4:5] not in (b"\0", b""):
            raise Refused(Problem.DAMAGED if open_streams or at == 0 else Problem.FOREIGN)
        if len(head) < 27:
            raise Refused(Problem.TRUNCATED)
        table = read(file, at + 27, head[26])
        at += 27 + head[26] + sum(table)
        if at > size or len(table) < head[26]:
            raise Refused(Problem.TRUNCATED)
        serial = number(head[14:18], "<I")
        if head[5] & 2:
            seen += 1
            open_streams.add(serial)
        if seen > _MOST_STREAMS or serial not in open_streams:
            raise Refused(Problem.DAMAGED)
        if head[5] & _LAST_PAGE:
            open_streams.remove(serial)
