"""Reads a file of any kind from its first byte to its last."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from typing import BinaryIO, Final

from services.media.adapters.structure import flac, matroska, mp3, mp4, ogg, wav
from services.media.problems import Problem, Refused

_WALKS: Final[dict[str, Callable[[BinaryIO, int], None]]] = {
    "wav": wav.walk,
    "flac": flac.walk,
    "mp3": mp3.walk,
    "ogg": ogg.walk,
    "matroska": matroska.walk,
    "mov": mp4.walk,
}

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
