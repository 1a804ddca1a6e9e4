"""WAV: RIFF chunks (Microsoft and IBM, 1991)."""

from __future__ import annotations

import struct
from typing import BinaryIO, Final

from services.media.adapters.structure.reading import check_sound, exactly, number, require_zeros
from services.media.problems import Problem, Refused

_UNBOUNDED: Final = 0x7FFFF000
"""What recorders write that cannot go back: this or more, or 0."""


def walk(file: BinaryIO, size: int) -> None:
    """Read the structure of a file of `size` bytes.

    Raises:
        Refused: DAMAGED, TRUNCATED, or FOREIGN.
    """
    said = number(exactly(file, 4, 4), "<I")
    streamed = _is_streamed(said)
    end = size if streamed else 8 + said
    # Some count these eight bytes as well, or a byte of filling that is not there; the chunks'
    # own lengths tell what is lacking.
    if end > size + 8:
        raise Refused(Problem.TRUNCATED)
    if end < size:
        require_zeros(file, end, size)
    at, has_format, has_data = 12, False, False
    while at + 8 <= min(end, size):
        name, length = struct.unpack("<4sI", exactly(file, at, 8))
        at += 8
        if name == b"fmt ":
            _check_wav_format(exactly(file, at, min(length, 16)))
            has_format = True
        elif name == b"data":
            if not has_format:
                raise Refused(Problem.DAMAGED)
            has_data = True
            if streamed and _is_streamed(length):
                return
        if at + length > size:
            raise Refused(Problem.TRUNCATED)
        if at + length > end:
            raise Refused(Problem.DAMAGED)
        at += length + length % 2
    if not (has_format and has_data):
        raise Refused(Problem.DAMAGED)


def _is_streamed(length: int) -> bool:
    return length == 0 or length >= _UNBOUNDED


def _check_wav_format(chunk: bytes) -> None:
    if len(chunk) < 16:
        raise Refused(Problem.DAMAGED)
    kind, channels, rate_hz, bytes_a_second, block, bits = struct.unpack("<HHIIHH", chunk)
    check_sound(channels, rate_hz)
    plain = kind in (1, 3, 6, 7)  # PCM, float, A-law, mu-law
    if plain and (block != channels * bits // 8 or bytes_a_second != block * rate_hz):
        raise Refused(Problem.DAMAGED)
