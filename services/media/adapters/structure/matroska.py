"""Matroska and WebM: EBML elements (RFC 8794, RFC 9559)."""

from __future__ import annotations

from typing import BinaryIO, Final

from services.media.adapters.structure.reading import read
from services.media.problems import Problem, Refused

_EBML: Final = 0x1A45DFA3
_SEGMENT: Final = 0x18538067
_CLUSTER: Final = 0x1F43B675
# What a segment may hold, by which a cluster of unknown length ends (RFC 9559, 5.1).
_IN_SEGMENT: Final = frozenset(
    # the seek head, what it is, its tracks, cues, attachments, chapters and tags
    {_CLUSTER, 0x114D9B74, 0x1549A966, 0x1654AE6B, 0x1C53BB6B, 0x1941A469, 0x1043A770, 0x1254C367}
)
# Filling and checksums.
_ANYWHERE: Final = frozenset({0xEC, 0xBF})
_UNKNOWN_SIZE: Final = -1


def walk(file: BinaryIO, size: int) -> None:
    """Read the structure of a file of `size` bytes.

    Raises:
        Refused: DAMAGED, TRUNCATED, or FOREIGN.
    """
    kind, length, at = _element(file, 0)
    if kind != _EBML or length == _UNKNOWN_SIZE:
        raise Refused(Problem.DAMAGED)
    at += length
    if at >= size:
        raise Refused(Problem.TRUNCATED)
    kind, length, at = _element(file, at)
    if kind != _SEGMENT:
        raise Refused(Problem.DAMAGED)
    end = size if length == _UNKNOWN_SIZE else at + length
    if end > size:
        raise Refused(Problem.TRUNCATED)
    if end < size:
        raise Refused(Problem.FOREIGN)
    in_open_cluster = False
    while at < end:
        kind, length, at = _element(file, at)
        if kind in _ANYWHERE:
            pass
        elif kind in _IN_SEGMENT:
            in_open_cluster = kind == _CLUSTER and length == _UNKNOWN_SIZE
        elif not in_open_cluster:
            raise Refused(Problem.DAMAGED)
        if in_open_cluster and kind == _CLUSTER:
            continue
        if length == _UNKNOWN_SIZE:
            raise Refused(Problem.DAMAGED)
        at += length
        if at > end:
            raise Refused(Problem.TRUNCATED)


def _element(file: BinaryIO, at: int) -> tuple[int, int, int]:
    """Return an element's id, its length (or that it is unknown), and where its content begins."""
    head = read(file, at, 12)
    if not head:
        raise Refused(Problem.TRUNCATED)
    id_bytes = 9 - head[0].bit_length()
    if id_bytes > 4:
        raise Refused(Problem.DAMAGED)
    if len(head) <= id_bytes:
        raise Refused(Problem.TRUNCATED)
    size_bytes = 9 - head[id_bytes].bit_length()
    if size_bytes > 8:
        raise Refused(Problem.DAMAGED)
    if len(head) < id_bytes + size_bytes:
        raise Refused(Problem.TRUNCATED)
    value = int.from_bytes(head[id_bytes : id_bytes + size_bytes])
    most = (1 << 7 * size_bytes) - 1
    value &= most
    length = _UNKNOWN_SIZE if value == most else value
    return int.from_bytes(head[:id_bytes]), length, at + id_bytes + size_bytes
