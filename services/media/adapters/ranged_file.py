"""Bytes that are got range by range, as an ordinary file."""

from __future__ import annotations

import io
from abc import abstractmethod
from typing import Any


class RangedFile(io.RawIOBase):
    """A file of `size` bytes for reading and seeking; a subclass gets the ranges. Blocks."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._at = 0

    @abstractmethod
    def get(self, offset: int, length: int) -> bytes:
        """Return bytes from `offset` on: `length`, which is at least 1, or fewer but some."""

    def readable(self) -> bool:
        """Whether it can be read."""
        return True

    def seekable(self) -> bool:
        """Whether it can be sought in."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill `buffer`, or its begin; return how many bytes of it, 0 at the end."""
        length = min(len(buffer), self._size - self._at)
        if length <= 0:
            return 0
        data = self.get(self._at, length)
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go on from another place; return it."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(base + offset, 0)
        return self._at

    def tell(self) -> int:
        """Return the place that is read next."""
        return self._at
