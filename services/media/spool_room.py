"""How much of the disk recordings may take that are not stored yet: all of them together.

What somebody says now comes only once, and a file can be sent again: so files may take
`UPLOADS_SHARE` of the room, and the rest is kept for talks.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

import structlog

from services.common.errors import Unavailable

_log = structlog.get_logger(__name__)

UPLOADS_SHARE: Final = 0.75
"""Of the room, for files that learners bring."""


class SpoolRoom:
    """The room below a folder. `most_bytes` 0: no bound."""

    def __init__(self, folder: Path, most_bytes: int) -> None:
        self._folder = folder
        self._most_bytes = most_bytes

    async def require_for_talk(self) -> None:
        """Refuse a new recording of a talk while those that wait take all the room.

        Raises:
            Unavailable: STORAGE_UNAVAILABLE.
        """
        await self._require(_size_of, 1, self._most_bytes)

    async def require_for_upload(self, size_bytes: int = 1) -> None:
        """Refuse a file with `size_bytes` of samples where there is no room for files.

        It counts twice, as does what is there: its original comes to lie beside it.

        Raises:
            Unavailable: STORAGE_UNAVAILABLE.
        """
        most = int(self._most_bytes * UPLOADS_SHARE)
        await self._require(_size_when_encoded, 2 * size_bytes, most)

    async def _require(self, measure: Callable[[Path], int], more: int, most: int) -> None:
        if not self._most_bytes:
            return
        waiting = await asyncio.to_thread(measure, self._folder)
        if waiting + more > most:
            _log.error("spool_full", bytes=waiting, more=more, most=most)
            raise Unavailable(
                "Recordings that are not stored yet take all the room that they may.",
                reason="STORAGE_UNAVAILABLE",
                retry_after=5.0,
            )


def _size_of(folder: Path) -> int:
    return sum(size for _, size in _files(folder))


def _size_when_encoded(folder: Path) -> int:
    return sum(2 * size for name, size in _files(folder) if name.endswith(".pcm"))


def _files(folder: Path) -> Iterator[tuple[str, int]]:
    for within, _, names in os.walk(folder):
        for name in names:
            # What is stored, and gone, by now counts for nothing.
            with suppress(FileNotFoundError):
                yield name, (Path(within) / name).stat().st_size
