"""A ZIP archive written piece by piece, for sending while it is made."""

from __future__ import annotations

import zipfile
from collections.abc import AsyncIterator
from datetime import datetime
from typing import IO

CHUNK_BYTES = 64 * 1024
"""The contract's bound of one piece."""


class _Sink:
    """What a ZipFile writes into. It cannot seek, so sizes stand behind each member's data."""

    def __init__(self) -> None:
        self.held = bytearray()

    def write(self, data: bytes) -> int:
        self.held += data
        return len(data)

    def flush(self) -> None:
        """Nothing is held back."""


class Archive:
    """Members are added in order; `taken` gives what is ready to be sent."""

    def __init__(self) -> None:
        self._sink = _Sink()
        # The typing of zipfile asks for more than it uses of a file that cannot seek.
        self._zip = zipfile.ZipFile(self._sink, "w", allowZip64=True)  # type: ignore[call-overload]

    async def add(
        self, name: str, made_at: datetime, pieces: AsyncIterator[bytes], *, packed: bool = False
    ) -> AsyncIterator[bytes]:
        """Add a member; yield what is ready to be sent, in pieces of `CHUNK_BYTES`.

        packed: it is compressed already (sound): it is stored as it is.
        """
        info = zipfile.ZipInfo(name, made_at.timetuple()[:6])
        info.compress_type = zipfile.ZIP_STORED if packed else zipfile.ZIP_DEFLATED
        # Its owner may read it, on systems that ask.
        info.external_attr = 0o600 << 16
        member: IO[bytes] = self._zip.open(info, "w", force_zip64=True)
        with member:
            async for piece in pieces:
                member.write(piece)
                for chunk in self._whole():
                    yield chunk

    def rest(self) -> list[bytes]:
        """Close the archive and return what is left to be sent."""
        self._zip.close()
        held = bytes(self._sink.held)
        self._sink.held.clear()
        return [held[i : i + CHUNK_BYTES] for i in range(0, len(held), CHUNK_BYTES)]

    def _whole(self) -> list[bytes]:
        """Take the whole chunks that are ready."""
        held = self._sink.held
        chunks = []
        while len(held) >= CHUNK_BYTES:
            chunks.append(bytes(held[:CHUNK_BYTES]))
            del held[:CHUNK_BYTES]
        return chunks
