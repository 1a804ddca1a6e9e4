"""A line to a port of this machine on which everything goes wrong that goes wrong on lines.

    async with line(to_port) as (cable, port):
        cable.latency_s, cable.bytes_per_s = 0.05, 20_000
        await cable.cut(30)         # resets every connection, refuses new ones for so long
        await cable.stall(1.5)      # holds everything back, and lets it go then
        cable.vanish()              # half-open: nothing passes, and nobody is told
        cable.forget()              # the same for what is connected now; new connections carry
        cable.mend()                # as before; what had vanished is reset

Bytes keep their order and none is lost on a connection that lives.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future

_CHUNK = 64 * 1024
# On their way at once, in one direction. Full policy: the sender is not read, so TCP slows it down.
_CHUNKS_UNDER_WAY = 1_024
# A narrow line lets pieces through so often.
_TICK_S = 0.02


class LineBeside:
    """A line that lives in another thread's loop; what it is told is done when a call returns."""

    def __init__(self, one: Line, loop: asyncio.AbstractEventLoop, over: asyncio.Event) -> None:
        self._line = one
        self._loop = loop
        self._over = over

    def down(self) -> None:
        """See `Line.down`."""
        self._do(self._line.down)

    def vanish(self) -> None:
        """See `Line.vanish`."""
        self._do(self._line.vanish)

    def mend(self) -> None:
        """See `Line.mend`."""
        self._do(self._line.mend)

    def end(self) -> None:
        """End the line, with its connections."""
        self._do(self._over.set)

    def _do(self, what: Callable[[], None]) -> None:
        async def one() -> None:
            what()

        asyncio.run_coroutine_threadsafe(one(), self._loop).result()


class Line:
    """Forwards every connection to `port`. Make it with `line`.

    latency_s: how late every byte comes, each way.
    bytes_per_s: how wide each direction of a connection is; None: as wide as the machine.
    """

    def __init__(self, port: int) -> None:
        self.latency_s = 0.0
        self.bytes_per_s: float | None = None
        self.connections = 0
        """How many connections there were so far."""
        self._to = port
        self._writers: set[asyncio.StreamWriter] = set()
        self._whole = True
        self._vanished = False
        self._forgotten: set[asyncio.StreamReader] = set()
        self._readers: set[asyncio.StreamReader] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()

    def reset(self) -> None:
        """Reset every connection; new ones are taken."""
        for writer in list(self._writers):
            writer.transport.abort()

    async def cut(self, seconds: float) -> None:
        """Reset every connection, and refuse new ones for so long."""
        self.down()
        await asyncio.sleep(seconds)
        self.mend()

    def down(self) -> None:
        """Reset every connection, and refuse new ones until it is mended."""
        self._whole = False
        self.reset()

    async def stall(self, seconds: float) -> None:
        """Let nothing through for so long, and then everything that waited."""
        self._flowing.clear()
        await asyncio.sleep(seconds)
        self._flowing.set()

    def vanish(self) -> None:
        """Swallow everything from now on, ends of connections too: the far side seems to be there.

        New connections are taken, and lead nowhere.
        """
        self._vanished = True

    def forget(self) -> None:
        """Swallow everything on the connections there are, their ends too; new ones carry.

        So does a network that was left for another, or a router that lost its table.
        """
        self._forgotten |= self._readers

    def mend(self) -> None:
        """Carry everything again; connections whose bytes were swallowed are reset."""
        if self._vanished or self._forgotten:
            self.reset()
        self._whole, self._vanished = True, False
        self._forgotten.clear()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one connection to its end."""
        if not self._whole:
            writer.transport.abort()
            return
        self.connections += 1
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._to)
        except OSError:
            writer.transport.abort()
            return
        both = {writer, far_writer}
        readers = {reader, far_reader}
        self._writers |= both
        self._readers |= readers
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._carry(reader, far_writer))
                group.create_task(self._carry(far_reader, writer))
        finally:
            self._writers -= both
            self._readers -= readers
            self._forgotten -= readers
            for each in both:
                each.transport.abort()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_CHUNKS_UNDER_WAY)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._collect(reader, under_way))
            group.create_task(self._deliver(under_way, writer))

    async def _collect(
        self, reader: asyncio.StreamReader, under_way: asyncio.Queue[tuple[float, bytes]]
    ) -> None:
        loop = asyncio.get_running_loop()
        data = b"-"
        while data:
            try:
                data = await reader.read(_CHUNK)
            except OSError:
                data = b""
            if not self._swallows(reader):
                await under_way.put((loop.time() + self.latency_s, data))
        if self._swallows(reader):
            # Its end is not told either.
            await asyncio.Event().wait()

    def _swallows(self, reader: asyncio.StreamReader) -> bool:
        return self._vanished or reader in self._forgotten

    async def _deliver(
        self, under_way: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter
    ) -> None:
        loop = asyncio.get_running_loop()
        with contextlib.suppress(OSError):
            while True:
                due, data = await under_way.get()
                if due > loop.time():
                    await asyncio.sleep(due - loop.time())
                await self._flowing.wait()
                if not data:
                    break
                for piece in self._pieces(data):
                    writer.write(piece)
                    await writer.drain()
                    if self.bytes_per_s is not None:
                        await asyncio.sleep(len(piece) / self.bytes_per_s)
        # One side's end is the other's: neither gRPC nor databases close half of a connection.
        writer.transport.abort()

    def _pieces(self, data: bytes) -> list[bytes]:
        if self.bytes_per_s is None:
            return [data]
        size = max(1, int(self.bytes_per_s * _TICK_S))
        return [data[at : at + size] for at in range(0, len(data), size)]


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


@contextlib.contextmanager
def line_beside(to_port: int, latency_s: float = 0.0) -> Iterator[tuple[LineBeside, int]]:
    """Yield the same in a thread of its own: for tests whose loops come and go, and for measures
    that are not to wait for it.
    """
    ready: Future[tuple[LineBeside, int]] = Future()

    async def run() -> None:
        over = asyncio.Event()
        async with line(to_port) as (one, port):
            one.latency_s = latency_s
            ready.set_result((LineBeside(one, asyncio.get_running_loop(), over), port))
            await over.wait()

    thread = threading.Thread(target=asyncio.run, args=(run(),), name="line")
    thread.start()
    beside, port = ready.result()
    try:
        yield beside, port
    finally:
        beside.end()
        thread.join()
