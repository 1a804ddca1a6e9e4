"""FLAC: metadata blocks, then frames (RFC 9639). There may be an ID3v2 tag in front of them."""

from __future__ import annotations

from typing import BinaryIO

from services.media import id3
from services.media.adapters.structure.reading import check_sound, exactly, number, read
from services.media.problems import Problem, Refused


def walk(file: BinaryIO, size: int) -> None:
    """Read the structure of a file of `size` bytes.

    Raises:
        Refused: DAMAGED, TRUNCATED, or NO_AUDIO.
    """
    at, last, first = _begin(file) + 4, False, True
    while not last:
        kind, length = exactly(file, at, 1)[0], number(b"\0" + exactly(file, at + 1, 3), ">I")
        last, kind = bool(kind & 0x80), kind & 0x7F
        at += 4
        if first != (kind == 0) or kind == 127:
            raise Refused(Problem.DAMAGED)
        if first:
            _check_flac_format(exactly(file, at, 18) if length == 34 else b"")
        first = False
        at += length
        if at > size:
            raise Refused(Problem.TRUNCATED)
    if at == size:
        raise Refused(Problem.TRUNCATED if samples(file) else Problem.NO_AUDIO)


def _check_flac_format(chunk: bytes) -> None:
    if len(chunk) < 18:
        raise Refused(Problem.DAMAGED)
    packed = number(chunk[10:18], ">Q")
    rate_hz, channels = packed >> 44, (packed >> 41 & 7) + 1
    check_sound(channels, rate_hz)


def samples(file: BinaryIO) -> int:
    """Return how many samples a FLAC file says that it has; 0: it does not say."""
    return number(exactly(file, _begin(file) + 18, 8), ">Q") & 0xFFFFFFFFF


def _begin(file: BinaryIO) -> int:
    """Return where its own first byte is."""
    return id3.tag_bytes(read(file, 0, id3.HEAD_BYTES)) or 0
