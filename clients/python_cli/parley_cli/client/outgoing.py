"""The client's side of a live session on its way out: numbered, written in order by one task.

    outgoing.open(call, next_sample=None)
    outgoing.post(audio=...)                            # never waits
    await outgoing.written(outgoing.post(text=...))     # waits until it left
    outgoing.broken()                                   # and `open` again, over another call

Because nobody but that task writes, any sender may be cancelled: cancelling grpc.aio in the middle
of a write would end the call.
"""

from __future__ import annotations

import asyncio
from typing import Any

import grpc.aio

from parley.conversation.v1 import conversation_pb2
from parley_cli.client.backlog import Backlog

ConverseRequest = conversation_pb2.ConverseRequest


class Outgoing:
    """Writes one session's messages over one call after another. `run` in a task of its own.

    Args:
        sample_rate_hz: of the learner's audio.
    """

    def __init__(self, sample_rate_hz: int) -> None:
        self._backlog = Backlog(sample_rate_hz)
        self._seq = 0
        self._written_seq = 0
        self._call: Any = None
        self._whole = asyncio.Event()
        self._closed = False
        self._to_write = asyncio.Event()
        self._progress = asyncio.Condition()

    @property
    def whole(self) -> bool:
        """Whether there is a call to write to, as far as is known."""
        return self._whole.is_set()

    def numbered(self, **message: Any) -> ConverseRequest:
        """Return a message with the next number."""
        self._seq += 1
        request = ConverseRequest(seq=self._seq, **message)
        request.client_time.GetCurrentTime()
        return request

    def post(self, **message: Any) -> int:
        """Let a message be written in its turn; return its number."""
        request = self.numbered(**message)
        self._backlog.add(request)
        self._to_write.set()
        return request.seq

    async def written(self, seq: int) -> None:
        """Wait until the message with this number, or a later one, was written, or for the end."""
        async with self._progress:
            await self._progress.wait_for(lambda: self._written_seq >= seq or self._closed)

    def open(self, call: Any, next_sample: int | None) -> None:
        """Write to this call from now on.

        Args:
            call: past its `start`.
            next_sample: for one that takes the place of another, the first sample that the server
                still wants: what the other may have lost goes out first.
        """
        self._call = call
        if next_sample is not None:
            self._backlog.again(next_sample)
        self._whole.set()
        self._to_write.set()

    def broken(self) -> None:
        """The call is no more: what is posted waits for another."""
        self._whole.clear()

    async def close(self) -> None:
        """Write nothing more; `run` and whoever waits return."""
        self._closed = True
        self._whole.set()
        self._to_write.set()
        async with self._progress:
            self._progress.notify_all()

    async def run(self) -> None:
        """Write what waits, until `close`."""
        while not self._closed:
            await self._whole.wait()
            call = self._call
            while self._whole.is_set() and call is self._call and not self._closed:
                await self._write_next(call)

    async def _write_next(self, call: Any) -> None:
        self._to_write.clear()
        request = self._backlog.take()
        if request is None:
            await self._to_write.wait()
        elif not await write(call, request):
            if call is self._call:
                self._whole.clear()
        elif not request.HasField("audio"):
            self._written_seq = max(self._written_seq, request.seq)
            async with self._progress:
                self._progress.notify_all()


async def write(call: Any, request: ConverseRequest) -> bool:
    """Write one message; False where the connection is gone (the reader will notice)."""
    try:
        await call.write(request)
    except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
        return False
    except asyncio.CancelledError:
        # A call that was given up cancels whoever writes to it.
        if is_being_cancelled():
            raise
        return False
    return True


def is_being_cancelled() -> bool:
    """Whether the current task itself is to end, and not only a call that it waits for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
