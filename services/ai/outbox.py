"""What a session has said and nobody has fetched yet."""

from __future__ import annotations

import asyncio
from collections import deque

from services.ai.capabilities import ProviderError
from services.ai.engine import EngineOutput, ReplyAudio, ReplyText

# How much reply audio may wait for the reader: at 200 ms a message, six seconds. The synthesizer is
# far faster than speech; beyond this it would only make what an interruption throws away.
MAX_WAITING_AUDIO = 30
# Everything else is a few messages a second. A reader this far behind has gone.
MAX_WAITING = 2000


class Outbox:
    """A bounded queue of outputs with one reader.

    Full-policy: reply audio makes its writer wait (``put_audio``); all else is never dropped and
    never waits, and a reader that leaves ``MAX_WAITING`` of it unread ends the session.
    """

    def __init__(self) -> None:
        self._items: deque[EngineOutput] = deque()
        self._audio = 0
        self._closed = False
        self._readable = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()

    def put(self, item: EngineOutput) -> None:
        """Add an output. Raises ``ProviderError`` when the reader is hopelessly behind."""
        if self._closed:
            return
        if len(self._items) >= MAX_WAITING:
            raise ProviderError("the session's output is not being read", retryable=False)
        if isinstance(item, ReplyAudio):
            self._audio += 1
            if self._audio >= MAX_WAITING_AUDIO:
                self._room.clear()
        self._items.append(item)
        self._readable.set()

    async def put_audio(self, item: ReplyAudio) -> None:
        """Add reply audio, waiting while too much of it is unread."""
        await self._room.wait()
        self.put(item)

    def drop_reply(self, generation: int) -> None:
        """Remove the unread text and audio of ``generation`` and of older ones."""
        kept = [
            item
            for item in self._items
            if not (isinstance(item, ReplyText | ReplyAudio) and item.generation <= generation)
        ]
        self._items = deque(kept)
        self._audio = sum(isinstance(item, ReplyAudio) for item in kept)
        if self._audio < MAX_WAITING_AUDIO:
            self._room.set()

    async def get(self) -> EngineOutput | None:
        """Return the next output; None when the box is closed and empty."""
        while not self._items:
            if self._closed:
                return None
            self._readable.clear()
            await self._readable.wait()
        item = self._items.popleft()
        if isinstance(item, ReplyAudio):
            self._audio -= 1
            self._room.set()
        return item

    def close(self) -> None:
        """Take no more; what is in the box can still be read."""
        self._closed = True
        self._readable.set()
        self._room.set()
