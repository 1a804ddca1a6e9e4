"""MP3: tags around frames, each of which says how long it is."""

from __future__ import annotations

from typing import BinaryIO, Final

from services.media import id3
from services.media.adapters.structure.reading import BUFFER_BYTES, number, read
from services.media.problems import Problem, Refused

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


def walk(file: BinaryIO, size: int) -> None:
    """Read the structure of a file of `size` bytes.

    Raises:
        Refused: DAMAGED, TRUNCATED, or FOREIGN.
    """
    lengths = _frame_bytes()
    at, frames, stated = 0, 0, 0
    buffer, begins = b"", 0
    while at < size:
        near = at - begins
        if not 0 <= near <= len(buffer) - 4:
            begins, near = at, 0
            buffer = read(file, at, BUFFER_BYTES)
        length = 0
        if len(buffer) - near >= 4 and buffer[near] == 0xFF:
            length = lengths[buffer[near + 1] << 8 | buffer[near + 2]]
        if length:
            if frames == 0:
                stated = _stated_frames(read(file, at, 64))
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
    return number(frame[at + 8 : at + 12], ">I") if frame[at + 7] & 1 else 0


def _tag_bytes(file: BinaryIO, at: int, size: int) -> int:
    """Return the length of the tag that begins here; 0 where none does."""
    head = read(file, at, 32)
    length = id3.tag_bytes(head)
    if length is None:
        raise Refused(Problem.DAMAGED)
    if length:
        return length
    if head.startswith(b"TAG"):
        return 128 if at + 128 == size else 0
    if head.startswith(b"APETAGEX") and len(head) == 32:
        with_header = number(head[20:24], "<I") & 0x20000000
        return number(head[12:16], "<I") + 32 if with_header else 32
    if head.startswith(b"LYRICSBEGIN"):
        # It ends with its length and this mark; 5,100 bytes are the most that version 1 has.
        found = read(file, at, 1_000_000).find(b"LYRICS200")
        return found + 9 if found >= 0 else 0
    return 0


def _filling_bytes(file: BinaryIO, at: int) -> int:
    """Return how many zeros are here."""
    piece = read(file, at, BUFFER_BYTES)
    return len(piece) - len(piece.lstrip(b"\0"))
