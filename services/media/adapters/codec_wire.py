"""What the service and its codec processes say to each other over a socket.

A message is a JSON object, and bytes where it carries some, each behind its length. Nothing in it
can do more than be read: a process that worked on bad data is not believed more than that.
"""

from __future__ import annotations

import json
import struct
from typing import Any, Final, Protocol

MOST_BYTES: Final = 4 * 1024 * 1024
"""Of a message, both halves: more than a read, or a day's waveform, ever takes."""

_PIECE_BYTES: Final = 256 * 1024
_HEAD: Final = struct.Struct(">II")

Message = dict[str, Any]


class BrokenWireError(Exception):
    """The other side is gone, or says what it cannot."""


class Stream(Protocol):
    """Bytes both ways: a socket, or its file descriptor."""

    def read(self, most: int) -> bytes | None:
        """Return what has come, some at least; nothing at the end."""
        ...

    def write(self, data: bytes | memoryview) -> int | None:
        """Send some of it; return how much."""
        ...


class Wire:
    """One end of the connection. Blocks; one caller at a time.

    What `stream` raises passes through: TimeoutError, where it has a time limit.
    """

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    def send(self, message: Message, data: bytes = b"") -> None:
        """Send a message.

        Raises:
            BrokenWireError: the other side is gone.
        """
        text = json.dumps(message).encode()
        left = memoryview(_HEAD.pack(len(text), len(data)) + text + data)
        try:
            while left:
                left = left[self._stream.write(left) or 0 :]
        except ConnectionError as error:
            raise BrokenWireError from error

    def receive(self) -> tuple[Message, bytes]:
        """Wait for a message, and return it with its bytes.

        Raises:
            BrokenWireError: the other side is gone, or says what it cannot.
        """
        text_bytes, data_bytes = _HEAD.unpack(self._read(_HEAD.size))
        if text_bytes > MOST_BYTES or data_bytes > MOST_BYTES:
            raise BrokenWireError
        text, data = self._read(text_bytes), self._read(data_bytes)
        try:
            message = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise BrokenWireError from error
        if not isinstance(message, dict):
            raise BrokenWireError
        return message, data

    def _read(self, length: int) -> bytes:
        data = bytearray()
        while len(data) < length:
            try:
                piece = self._stream.read(min(length - len(data), _PIECE_BYTES))
            except ConnectionError as error:
                raise BrokenWireError from error
            if not piece:
                raise BrokenWireError
            data += piece
        return bytes(data)
