"""Whether an MP4 (M4A, QuickTime) is one whole file that says where its sound is, and nothing else.

What phones and browsers record: boxes within boxes, each behind its length (ISO/IEC 14496-12). The
format can also refer to sound in other files, be compressed, or give tables of more entries than
there are bytes; a decoder is not left to find that out.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any, BinaryIO, Final

from services.media.adapters.structure.reading import require_zeros
from services.media.problems import Problem, Refused

_TOP: Final = frozenset(
    b"ftyp moov mdat free skip wide uuid moof mfra sidx ssix styp meta udta pnot prft emsg".split()
)
_WITHIN: Final = frozenset(b"moov trak mdia minf dinf stbl edts mvex".split())
_ELSEWHERE: Final = frozenset(b"rmra rmda rmdr".split())
"""Of a QuickTime film that only names others."""

_MOST_INDEX_BYTES: Final = 16 * 1024 * 1024
"""Of `moov`: what lists an hour's frames, one by one, has about one."""

_MOST_BOXES: Final = 10_000
_MOST_FRAGMENTS: Final = 200_000
_MOST_TRACKS: Final = 16
_SELF_CONTAINED: Final = 1
_ENTRY_BYTES: Final = {
    b"stts": 8,
    b"ctts": 8,
    b"stsc": 12,
    b"stco": 4,
    b"co64": 8,
    b"stss": 4,
}
"""Of tables that begin with their version, flags, and how many entries they have."""


def walk(file: BinaryIO, size: int) -> None:
    """Read the structure of a file of `size` bytes.

    Raises:
        Refused: DAMAGED, TRUNCATED, FOREIGN, or NO_AUDIO.
    """
    at, count, has_index, has_sound = 0, 0, False, False
    while at < size:
        kind, begins, end = _box(file, at, size)
        count += 1
        if count > _MOST_FRAGMENTS:
            raise Refused(Problem.DAMAGED)
        if has_index and kind == b"\0\0\0\0":
            require_zeros(file, at, size)
            break
        if kind not in _TOP:
            raise Refused(Problem.DAMAGED if at == 0 or not has_index else Problem.FOREIGN)
        if end > size:
            raise Refused(Problem.TRUNCATED)
        if kind == b"moov":
            if has_index or end - begins > _MOST_INDEX_BYTES:
                raise Refused(Problem.DAMAGED)
            has_index = True
            has_sound = _check_index(file, begins, end, size)
        at = end
    if not has_index:
        # Recorders write it last, when they are stopped.
        raise Refused(Problem.TRUNCATED)
    if not has_sound:
        raise Refused(Problem.NO_AUDIO)


def _check_index(file: BinaryIO, begins: int, end: int, size: int) -> bool:
    """Look through `moov`; tell whether one of its tracks is sound."""
    file.seek(begins)
    index = file.read(end - begins)
    tracks, sounds = 0, 0
    for count, (kind, first, last) in enumerate(_below(index, 0, len(index)), 1):
        if count > _MOST_BOXES or kind == b"cmov":
            # Compressed: nobody knows what comes out. Nothing has written that since 1999.
            raise Refused(Problem.DAMAGED)
        if kind in _ELSEWHERE:
            raise Refused(Problem.FOREIGN)
        tracks += kind == b"trak"
        if tracks > _MOST_TRACKS:
            raise Refused(Problem.DAMAGED)
        content = index[first:last]
        if kind == b"dref":
            _check_references(content)
        elif kind == b"hdlr":
            sounds += content[8:12] == b"soun"
        elif kind == b"stsz":
            _check_sizes(content, size)
        elif kind in _ENTRY_BYTES:
            _check_table(content, 4, _ENTRY_BYTES[kind])
    return bool(sounds)


def _check_references(content: bytes) -> None:
    """Refuse what says that its sound is in another file, or at an address."""
    (count,) = _unpacked(">I", content, 4)
    at = 8
    for _ in range(min(count, len(content))):
        length, _, flags = _unpacked(">I4sI", content, at)
        if not flags & _SELF_CONTAINED:
            raise Refused(Problem.FOREIGN)
        if length < 12:
            raise Refused(Problem.DAMAGED)
        at += length


def _check_sizes(content: bytes, size: int) -> None:
    """Hold the table of the frames' sizes against the file's: each has a byte at least."""
    each, count = _unpacked(">II", content, 4)
    if each == 0:
        _check_table(content, 8, 4)
    elif each * count > size:
        raise Refused(Problem.DAMAGED)


def _check_table(content: bytes, count_at: int, entry: int) -> None:
    """Hold the number of entries that a table says it has against the bytes that it has."""
    (count,) = _unpacked(">I", content, count_at)
    if count_at + 4 + count * entry > len(content):
        raise Refused(Problem.DAMAGED)


def _below(index: bytes, at: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield every box from `at` to `end`, and those within: its kind, and where its content is."""
    waiting = [(at, end)]
    while waiting:
        at, end = waiting.pop()
        while at < end:
            # QuickTime may end a list of boxes with a zero.
            if end - at == 4 and index[at:end] == b"\0\0\0\0":
                break
            length, kind = _unpacked(">I4s", index, at)
            begins = at + 8
            if length == 1:
                (length,) = _unpacked(">Q", index, at + 8)
                begins += 8
            if length < begins - at or at + length > end:
                raise Refused(Problem.DAMAGED)
            yield kind, begins, at + length
            if kind in _WITHIN:
                waiting.append((begins, at + length))
            at += length


def _box(file: BinaryIO, at: int, size: int) -> tuple[bytes, int, int]:
    """Return the kind of the box at `at`, where its content begins, and where it ends."""
    file.seek(at)
    head = file.read(16)
    if len(head) < 8:
        raise Refused(Problem.TRUNCATED)
    length, kind = _unpacked(">I4s", head, 0)
    begins = at + 8
    if length == 1:
        if len(head) < 16:
            raise Refused(Problem.TRUNCATED)
        (length,) = _unpacked(">Q", head, 8)
        begins += 8
    elif length == 0:
        length = size - at
    if length < begins - at:
        raise Refused(Problem.DAMAGED)
    return kind, begins, at + length


def _unpacked(form: str, data: bytes, at: int) -> tuple[Any, ...]:
    try:
        return struct.unpack_from(form, data, at)
    except struct.error:
        raise Refused(Problem.DAMAGED) from None
