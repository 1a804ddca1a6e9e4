"""A network that is farther away: a TCP proxy on loopback whose every byte comes later.

    with delayed_line("127.0.0.1", 8443, delay_ms=40) as port: ...

Each direction is late by `delay_ms`, so a round trip by twice as much. Bytes keep their order and
lose nothing, and the line is as wide as the machine: only distance is added, neither loss nor
congestion. It runs in a thread with a loop of its own, so that what is measured beside it does not
wait for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator

_CHUNK_BYTES = 64 * 1024

# On their way at once, in one direction. Full policy: the sender is not read, so TCP slows it down.
_CHUNKS_UNDER_WAY = 4096


async def _carry(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay_s: float
) -> None:
    """Write what is read, each piece `delay_s` after it came, until one side ends."""
    loop = asyncio.get_running_loop()
    under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_CHUNKS_UNDER_WAY)

    async def deliver() -> None:
        while True:
            due, data = await under_way.get()
            await asyncio.sleep(due - loop.time())
            if not data:
                return
            writer.write(data)
            await writer.drain()

    async def collect() -> None:
        while True:
            data = await reader.read(_CHUNK_BYTES)
            await under_way.put((loop.time() + delay_s, data))
            if not data:
                return

    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(collect())
            group.create_task(deliver())
    except* OSError:
        pass  # one side went away; so does the other
    finally:
        writer.transport.abort()


async def _connect(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    far: tuple[str, int],
    delay_s: float,
) -> None:
    try:
        far_reader, far_writer = await asyncio.open_connection(*far)
    except OSError:
        writer.transport.abort()
        return
    async with asyncio.TaskGroup() as group:
        group.create_task(_carry(reader, far_writer, delay_s))
        group.create_task(_carry(far_reader, writer, delay_s))


async def _serve(
    far: tuple[str, int], delay_s: float, listening: asyncio.Future[int], over: asyncio.Event
) -> None:
    """Accept connections until `over`, then end them all."""
    connections: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(_connect(reader, writer, far, delay_s))
        connections.add(task)
        task.add_done_callback(connections.discard)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    listening.set_result(server.sockets[0].getsockname()[1])
    await over.wait()
    server.close()
    for task in connections:
        task.cancel()
    await asyncio.gather(*connections, return_exceptions=True)
    await server.wait_closed()


@contextlib.contextmanager
def delayed_line(host: str, port: int, delay_ms: float) -> Iterator[int]:
    """Yield the port of a line to `host:port` on which every byte is `delay_ms` late, each way."""
    ready = threading.Event()
    made: list[tuple[asyncio.AbstractEventLoop, asyncio.Event, int]] = []

    async def run() -> None:
        loop = asyncio.get_running_loop()
        listening: asyncio.Future[int] = loop.create_future()
        over = asyncio.Event()
        serving = asyncio.create_task(_serve((host, port), delay_ms / 1000, listening, over))
        made.append((loop, over, await listening))
        ready.set()
        await serving

    thread = threading.Thread(target=asyncio.run, args=(run(),), name="delayed line")
    thread.start()
    ready.wait()
    loop, over, near_port = made[0]
    try:
        yield near_port
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join()
