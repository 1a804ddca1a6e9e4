"""M4A files that lie: boxes of a proper one, some of them exchanged."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator

_WITHIN = frozenset(b"moov trak mdia minf dinf stbl moof traf mvex".split())

Exchange = Callable[[bytes], bytes]


def box(kind: bytes, content: bytes) -> bytes:
    """Return a box."""
    return struct.pack(">I", 8 + len(content)) + kind + content


def exchanged(data: bytes, kind: bytes, exchange: Exchange) -> bytes:
    """Return `data` with the content of every box of a kind exchanged, however deep it lies."""
    return b"".join(
        box(each, exchange(content))
        if each == kind
        else box(each, exchanged(content, kind, exchange))
        if each in _WITHIN
        else box(each, content)
        for each, content in boxes(data)
    )


def boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the boxes of a file, or of another box: kind and content."""
    at = 0
    while at < len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        yield kind, data[at + 8 : at + length]
        at += length


def elsewhere(whole: bytes, url: str) -> bytes:
    """Return it with its sound at another place."""
    entry = box(b"url ", bytes(4) + url.encode() + b"\0")
    return exchanged(whole, b"dref", lambda _: struct.pack(">II", 0, 1) + entry)


def of_many_frames(whole: bytes) -> bytes:
    """Return it with a table that says in 12 bytes that there are four billion."""
    return exchanged(whole, b"stsz", lambda _: struct.pack(">III", 0, 1, 0xFFFFFFFF))


def of_a_table_that_is_not_there(whole: bytes) -> bytes:
    """Return it with a table that has fewer entries than it says."""
    return exchanged(whole, b"stsc", lambda old: old[:4] + struct.pack(">I", 1 << 30) + old[8:])


def of_many_fragments_frames(fragmented: bytes) -> bytes:
    """Return it with fragments that say in 8 bytes each that they have four billion frames."""
    # No flags: each frame is as the track's header says it is.
    return exchanged(fragmented, b"trun", lambda _: struct.pack(">II", 0, 0xFFFFFFFF))


def compressed(whole: bytes) -> bytes:
    """Return it with an index that has to be unpacked first."""
    packed = box(b"dcom", b"zlib") + box(b"cmvd", struct.pack(">I", 1 << 30) + bytes(40))
    return exchanged(whole, b"moov", lambda _: box(b"cmov", packed))


def of_films(url: str) -> bytes:
    """Return a film that is a list of others."""
    reference = box(b"rdrf", bytes(4) + b"url " + struct.pack(">I", len(url)) + url.encode())
    index = box(b"moov", box(b"rmra", box(b"rmda", reference)))
    return box(b"ftyp", b"qt  \0\0\0\0qt  ") + index


def nested(depth: int) -> bytes:
    """Return boxes within boxes."""
    content = b""
    for _ in range(depth):
        content = box(b"trak", content)
    return box(b"ftyp", b"M4A \0\0\0\0M4A ") + box(b"moov", content)
