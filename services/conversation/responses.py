"""What goes to the client: numbered when it is written, kept for a while so that it can resume.

Pure, but for the event that wakes the writer.

Full policies. Waiting: audio of a reply that was stopped is taken out before it is written; a
client that lets more than the bounds wait is disconnected (CLIENT_TOO_SLOW) and can resume; what
waited is kept. Kept: the oldest reply audio goes first, then the oldest of all; a client that
resumes sees a gap in `seq` where something is gone.
"""

from __future__ import annotations

import asyncio
from collections import deque

from parley.conversation.v1 import conversation_pb2
from services.common.errors import ParleyError
from services.common.limits import DEFAULT_LIMITS

Response = conversation_pb2.ConverseResponse

# Waiting to be written.
MAX_WAITING = DEFAULT_LIMITS.waiting_responses
MAX_WAITING_BYTES = DEFAULT_LIMITS.waiting_response_bytes

# Kept for resuming.
MAX_KEPT_BYTES = DEFAULT_LIMITS.resume_buffer_bytes


class Responses:
    """The responses of one session."""

    def __init__(self, max_kept: int, *, last_seq: int = 0) -> None:
        self._max_kept = max_kept
        self._waiting: deque[Response] = deque()
        self._waiting_bytes = 0
        self._kept: deque[tuple[Response, int]] = deque()
        self._kept_bytes = 0
        self._seq = last_seq
        self._wake = asyncio.Event()
        self._closed = False
        self.error: ParleyError | None = None

    @property
    def last_seq(self) -> int:
        """The number of the last response that was written."""
        return self._seq

    @property
    def overflowing(self) -> bool:
        """Whether more waits than a reading client ever lets wait."""
        return len(self._waiting) > MAX_WAITING or self._waiting_bytes > MAX_WAITING_BYTES

    def put(self, response: Response) -> None:
        """Add a response to those that wait."""
        self._waiting.append(response)
        self._waiting_bytes += _size(response)
        self._wake.set()

    def silence(self, generation: int) -> None:
        """Take out waiting text and audio of `generation` and older: they were stopped."""
        left = [each for each in self._waiting if not _is_reply(each, generation)]
        self._waiting = deque(left)
        self._waiting_bytes = sum(map(_size, left))

    def close(self, error: ParleyError | None = None) -> None:
        """No more will be put; what waits is still written, and then `error` ends the stream."""
        if not self._closed:
            self._closed = True
            self.error = error
        self._wake.set()

    def wake(self) -> None:
        """Make `wait` return, so that the writer looks around."""
        self._wake.set()

    async def wait(self) -> None:
        """Wait until something waits, or the end. Safe to cancel."""
        await self._wake.wait()

    def next(self) -> Response | None:
        """Take out the next response, numbered; None when nothing waits."""
        if not self._waiting:
            if not self._closed:
                self._wake.clear()
            return None
        response = self._waiting.popleft()
        self._waiting_bytes -= _size(response)
        self._seq += 1
        response.seq = self._seq
        self._keep(response)
        return response

    @property
    def finished(self) -> bool:
        """Whether everything has been written and nothing more will come."""
        return self._closed and not self._waiting

    def since(self, last_seq: int) -> list[Response]:
        """Return what was written after `last_seq` and is still kept, in order."""
        return [each for each, _ in self._kept if each.seq > last_seq]

    def shelve(self) -> None:
        """Nobody reads: number what waits and keep it like what was written, within its bounds."""
        while self.next() is not None:
            pass

    def _keep(self, response: Response) -> None:
        size = _size(response)
        self._kept.append((response, size))
        self._kept_bytes += size
        while len(self._kept) > self._max_kept or self._kept_bytes > MAX_KEPT_BYTES:
            self._let_go()

    def _let_go(self) -> None:
        index = next(
            (at for at, (each, _) in enumerate(self._kept) if each.HasField("reply_audio")), 0
        )
        self._kept_bytes -= self._kept[index][1]
        del self._kept[index]


def _size(response: Response) -> int:
    return response.ByteSize()


def _is_reply(response: Response, generation: int) -> bool:
    return 0 < response.generation <= generation and response.WhichOneof("message") in (
        "reply_text",
        "reply_audio",
    )
