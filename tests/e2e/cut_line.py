"""A line to Parley that can be cut or stalled: a small TCP proxy on loopback."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

_CHUNK = 64 * 1024


class Line:
    """Forwards every connection to `port` while it is whole. Make it with `line`."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._writers: set[asyncio.StreamWriter] = set()
        self._whole = asyncio.Event()
        self._whole.set()
        self._flowing = asyncio.Event()
        self._flowing.set()

    async def cut(self, seconds: float) -> None:
        """Reset every connection, and refuse new ones for so long."""
        self._whole.clear()
        for writer in list(self._writers):
            writer.transport.abort()
        await asyncio.sleep(seconds)
        self._whole.set()

    async def stall(self, seconds: float) -> None:
        """Let nothing through for so long, and then everything that waited."""
        self._flowing.clear()
        await asyncio.sleep(seconds)
        self._flowing.set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one connection to its end."""
        if not self._whole.is_set():
            writer.transport.abort()
            return
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._to)
        except OSError:
            writer.transport.abort()
            return
        both = {writer, far_writer}
        self._writers |= both
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._carry(reader, far_writer))
                group.create_task(self._carry(far_reader, writer))
        finally:
            self._writers -= both
            for each in both:
                each.transport.abort()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(_CHUNK):
                await self._flowing.wait()
                writer.write(data)
                await writer.drain()
        # One side's end is the other's: gRPC closes no half of a connection.
        writer.transport.abort()


@contextlib.asynccontextmanager
async def line(to_port: int) -> AsyncIterator[tuple[Line, int]]:
    """Yield a line to a port of this machine, and the port that it begins at."""
    one = Line(to_port)
    connections: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(one.serve(reader, writer))
        connections.add(task)
        task.add_done_callback(connections.discard)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield one, server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in connections:
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)
        await server.wait_closed()
