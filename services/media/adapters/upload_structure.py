"""Whether a file is one whole file of its kind, from its first byte to its last.

Decoders are made to play what they can: a file that is cut, or has another behind it, or says of
itself what cannot be. What is kept for years should not begin like that, so the outer structure is
read here, in plain Python, before a decoder sees the file: every length must lead to the next part
and the last to the end. Nothing is read into memory but what is looked at.

Where a format has a way to say "until the end" (a recorder that could not go back to its header),
it is taken at that.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from typing import BinaryIO, Final

from services.media.problems import Problem, Refused

MOST_CHANNELS: Final = 8
"""Seven places around a listener and one for the deep sounds."""

HIGHEST_RATE_HZ: Final = 384_000
"""What studio equipment goes to."""

_UNBOUNDED: Final = 0x7FFFF000  # what recorders write that cannot go back: this or more, or 0
_HEAD_BYTES: Final = 1024
_TAIL_BYTES: Final = 65_557  # a ZIP's last record, with the longest comment there may be


def check(file: BinaryIO, container: str) -> None:
    """Read the structure of a file of `container` (FFmpeg's name).

    Raises:
        Refused: DAMAGED, TRUNCATED, FOREIGN, or NO_AUDIO.
    """
    size = file.seek(0, os.SEEK_END)
    _refuse_other_kinds(file, size)
    _WALKS[container](file, size)
    file.seek(0)


def _refuse_other_kinds(file: BinaryIO, size: int) -> None:
    """Refuse what programs would take for something else to open, or to run."""
    file.seek(0)
    head = file.read(_HEAD_BYTES).lower()
    # Their readers look for them some way into the file.
    if any(each in head for each in (b"%pdf-", b"<script", b"<html", b"<!doctype", b"<?php")):
        raise Refused(Problem.FOREIGN)
    start = max(size - _TAIL_BYTES, 0)
    file.seek(start)
    tail = file.read(_TAIL_BYTES)
    at = tail.rfind(b"PK\5\6")
    while at >= 0:
        # Its directory lies before it, and its comment reaches to the end: not by chance.
        record = tail[at : at + 22]
        if len(record) == 22:
            length, offset, comment = struct.unpack("<IIH", record[12:])
            if length + offset <= start + at and at + 22 + comment == len(tail):
                raise Refused(Problem.FOREIGN)
        at = tail.rfind(b"PK\5\6", 0, at)


# --- WAV: RIFF chunks -------------------------------------------------------------------------


def _walk_wav(file: BinaryIO, size: int) -> None:
    said = _number(_at(file, 4, 4), "<I")
    streamed = _is_streamed(said)
    end = size if streamed else 8 + said
    if end > size + 1:
        raise Refused(Problem.TRUNCATED)
    if end < size:
        _require_zeros(file, end, size)
    at, has_format, has_data = 12, False, False
    while at + 8 <= min(end, size):
        name, length = struct.unpack("<4sI", _at(file, at, 8))
        at += 8
        if name == b"fmt ":
            _check_wav_format(_at(file, at, min(length, 16)))
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
    _check_sound(channels, rate_hz)
    plain = kind in (1, 3, 6, 7)  # PCM, float, A-law, mu-law
    if plain and (block != channels * bits // 8 or bytes_a_second != block * rate_hz):
        raise Refused(Problem.DAMAGED)


# --- FLAC: metadata blocks, then frames -------------------------------------------------------


def _walk_flac(file: BinaryIO, size: int) -> None:
    at, last, first = 4, False, True
    while not last:
        kind, length = _at(file, at, 1)[0], _number(b"\0" + _at(file, at + 1, 3), ">I")
        last, kind = bool(kind & 0x80), kind & 0x7F
        at += 4
        if first != (kind == 0) or kind == 127:
            raise Refused(Problem.DAMAGED)
        if first:
            _check_flac_format(_at(file, at, 18) if length == 34 else b"")
        first = False
        at += length
        if at > size:
            raise Refused(Problem.TRUNCATED)
    if at == size:
        raise Refused(Problem.TRUNCATED if flac_samples(file) else Problem.NO_AUDIO)


def _check_flac_format(chunk: bytes) -> None:
    if len(chunk) < 18:
        raise Refused(Problem.DAMAGED)
    packed = _number(chunk[10:18], ">Q")
    rate_hz, channels = packed >> 44, (packed >> 41 & 7) + 1
    _check_sound(channels, rate_hz)


def flac_samples(file: BinaryIO) -> int:
    """Return how many samples a FLAC file says that it has; 0: it does not say."""
    return _number(_at(file, 18, 8), ">Q") & 0xFFFFFFFFF


# --- MP3: tags around frames, each of which says how long it is -------------------------------

# ISO 11172-3, 2.4.2.3, and 13818-3: kbit/s by index, of layer III.
_KBITS_1: Final = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_KBITS_2: Final = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_RATES_HZ: Final = (44_100, 48_000, 32_000)


def _frame_bytes() -> list[int]:
    """Return the length of a frame by its second and third byte; 0 where there is no such."""
    lengths = [0] * 65_536
    for version, divisor, kbits in ((3, 1, _KBITS_1), (2, 2, _KBITS_2), (0, 4, _KBITS_2)):
        for bit_rate, rate, padding in _combinations():
            samples = 1152 if version == 3 else 576
            length = samples // 8 * kbits[bit_rate] * 1000 * divisor // _RATES_HZ[rate] + padding
            for unprotected, private in ((0, 0), (0, 1), (1, 0), (1, 1)):
                second = 0xE0 | version << 3 | 1 << 1 | unprotected
                third = bit_rate << 4 | rate << 2 | padding << 1 | private
                lengths[second << 8 | third] = length
    return lengths


def _combinations() -> list[tuple[int, int, int]]:
    return [(bits, rate, pad) for bits in range(1, 15) for rate in range(3) for pad in (0, 1)]


_BUFFER_BYTES: Final = 1024 * 1024


def _walk_mp3(file: BinaryIO, size: int) -> None:
    lengths = _frame_bytes()
    at, frames, stated = 0, 0, 0
    buffer, begins = b"", 0
    while at < size:
        near = at - begins
        if not 0 <= near <= len(buffer) - 4:
            begins, near = at, 0
            buffer = _read(file, at, _BUFFER_BYTES)
        length = 0
        if len(buffer) - near >= 4 and buffer[near] == 0xFF:
            length = lengths[buffer[near + 1] << 8 | buffer[near + 2]]
        if length:
            if frames == 0:
                stated = _stated_frames(_read(file, at, 64))
            frames += 1
            at += length
            continue
        skipped = _tag_bytes(file, at, size) or _filling_bytes(file, at)
        if not skipped and size - at < 4:
            raise Refused(Problem.TRUNCATED)
        if not skipped:
            raise Refused(Problem.FOREIGN if frames else Problem.DAMAGED)
        at += skipped
    # The frame that says how many there are may count itself.
    if at > size or frames < stated:
        raise Refused(Problem.TRUNCATED)


def _stated_frames(frame: bytes) -> int:
    """Return how many frames the first one says there are (Xing's header); 0: it does not."""
    one_channel, version_1 = frame[3] >> 6 == 3, frame[1] & 0x08
    at = 4 + ((17 if one_channel else 32) if version_1 else (9 if one_channel else 17))
    if frame[at : at + 4] not in (b"Xing", b"Info") or len(frame) < at + 12:
        return 0
    return _number(frame[at + 8 : at + 12], ">I") if frame[at + 7] & 1 else 0


def _tag_bytes(file: BinaryIO, at: int, size: int) -> int:
    """Return the length of the tag that begins here; 0 where none does."""
    head = _read(file, at, 32)
    if head.startswith(b"ID3"):
        parts = head[6:10]
        if len(parts) < 4 or any(each & 0x80 for each in parts):
            raise Refused(Problem.DAMAGED)
        length = sum(each << shift for each, shift in zip(parts, (21, 14, 7, 0), strict=True))
        return 10 + length + (10 if head[5] & 0x10 else 0)
    if head.startswith(b"TAG"):
        return 128 if at + 128 == size else 0
    if head.startswith(b"APETAGEX") and len(head) == 32:
        with_header = _number(head[20:24], "<I") & 0x20000000
        return _number(head[12:16], "<I") + 32 if with_header else 32
    if head.startswith(b"LYRICSBEGIN"):
        # It ends with its length and this mark; 5,100 bytes are the most that version 1 has.
        found = _read(file, at, 1_000_000).find(b"LYRICS200")
        return found + 9 if found >= 0 else 0
    return 0


def _filling_bytes(file: BinaryIO, at: int) -> int:
    """Return how many zeros are here."""
    piece = _read(file, at, _BUFFER_BYTES)
    return len(piece) - len(piece.lstrip(b"\0"))


# --- Ogg: pages -------------------------------------------------------------------------------

_MOST_STREAMS: Final = 16
_LAST_PAGE: Final = 4


def _walk_ogg(file: BinaryIO, size: int) -> None:
    at = 0
    open_streams: set[int] = set()
    seen = 0
    while at < size:
        head = _read(file, at, 27)
        if head[:4] != b"OggS"[: len(head)] or head[4:5] not in (b"\0", b""):
            raise Refused(Problem.DAMAGED if open_streams or at == 0 else Problem.FOREIGN)
        if len(head) < 27:
            raise Refused(Problem.TRUNCATED)
        table = _read(file, at + 27, head[26])
        at += 27 + head[26] + sum(table)
        if at > size or len(table) < head[26]:
            raise Refused(Problem.TRUNCATED)
        serial = _number(head[14:18], "<I")
        if head[5] & 2:
            seen += 1
            open_streams.add(serial)
        if seen > _MOST_STREAMS or serial not in open_streams:
            raise Refused(Problem.DAMAGED)
        if head[5] & _LAST_PAGE:
            open_streams.remove(serial)
    if open_streams:
        raise Refused(Problem.TRUNCATED)


# --- Matroska and WebM: EBML elements ---------------------------------------------------------

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


def _walk_matroska(file: BinaryIO, size: int) -> None:
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
    head = _read(file, at, 12)
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


# --- Of all of them ---------------------------------------------------------------------------


_WALKS: Final[dict[str, Callable[[BinaryIO, int], None]]] = {
    "wav": _walk_wav,
    "flac": _walk_flac,
    "mp3": _walk_mp3,
    "ogg": _walk_ogg,
    "matroska": _walk_matroska,
}


def _check_sound(channels: int, rate_hz: int) -> None:
    if not 1 <= channels <= MOST_CHANNELS or not 1 <= rate_hz <= HIGHEST_RATE_HZ:
        raise Refused(Problem.DAMAGED)


def _require_zeros(file: BinaryIO, at: int, end: int) -> None:
    """Refuse anything but filling behind the end."""
    while at < end:
        piece = _read(file, at, _BUFFER_BYTES)
        if piece.count(0) != len(piece):
            raise Refused(Problem.FOREIGN)
        at += len(piece)


def _at(file: BinaryIO, at: int, length: int) -> bytes:
    """Return exactly so many bytes."""
    data = _read(file, at, length)
    if len(data) < length:
        raise Refused(Problem.TRUNCATED)
    return data


def _read(file: BinaryIO, at: int, length: int) -> bytes:
    file.seek(at)
    return file.read(length)


def _number(data: bytes, form: str) -> int:
    return int(struct.unpack(form, data)[0])
