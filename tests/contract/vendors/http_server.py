"""A small HTTP/1.1 server in this loop, for vendors' protocols: it counts connections and breaks.

It knows nothing of any vendor. What it shows, clients' own libraries must make sense of: chunked
answers that stop in the middle, statuses, silence.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

GRACE_S = 10.0
"""How long a connection may take to be seen closed on a busy machine."""


class ConnectionCut(Exception):
    """The answer is cut here, without an end."""


@dataclass(frozen=True, slots=True)
class Request:
    """What a client asked: header names are in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """Return the body, which must be JSON."""
        return json.loads(self.body)


@dataclass(slots=True)
class Reply:
    """The answer to one request: begun, then sent in chunks."""

    writer: asyncio.StreamWriter
    begun: bool = False

    async def begin(
        self, status: int, content_type: str, headers: Mapping[str, str] | None = None
    ) -> None:
        """Send the head of a chunked answer."""
        self.begun = True
        lines = [
            f"HTTP/1.1 {status} Status",
            f"content-type: {content_type}",
            "transfer-encoding: chunked",
            *(f"{name}: {value}" for name, value in (headers or {}).items()),
        ]
        await self._write(("\r\n".join(lines) + "\r\n\r\n").encode())

    async def send(self, data: bytes) -> None:
        """Send a chunk."""
        if data:
            await self._write(f"{len(data):x}\r\n".encode() + data + b"\r\n")

    async def end(self) -> None:
        """End the answer."""
        await self._write(b"0\r\n\r\n")

    async def json(
        self, status: int, value: object, headers: Mapping[str, str] | None = None
    ) -> None:
        """Send a whole answer."""
        await self.begin(status, "application/json", headers)
        await self.send(json.dumps(value, ensure_ascii=False).encode())
        await self.end()

    async def _write(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()


Handler = Callable[[Request, Reply], Coroutine[Any, Any, None]]


@dataclass(slots=True)
class HttpServer:
    """The running server: what it was asked, and who is still connected."""

    port: int
    requests: list[Request] = field(default_factory=list)
    connected: int = 0
    cut_next: bool = False
    """Read the next request and cut its connection before anything is answered."""
    garble_next: bool = False
    """Answer the next request with what is no HTTP."""
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def until_connected(self, count: int) -> None:
        """Wait until so many connections are open. Raises ``TimeoutError``."""
        async with asyncio.timeout(GRACE_S):
            while self.connected != count:
                self.changed.clear()
                await self.changed.wait()

    async def until_asked(self, count: int) -> None:
        """Wait until so many requests have come. Raises ``TimeoutError``."""
        async with asyncio.timeout(GRACE_S):
            while len(self.requests) < count:
                self.changed.clear()
                await self.changed.wait()


@asynccontextmanager
async def http_server(handler: Handler) -> AsyncIterator[HttpServer]:
    """Serve ``handler`` on a free port of the loopback."""
    served: HttpServer
    answering: set[asyncio.Task[None]] = set()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.connected += 1
        served.changed.set()
        try:
            while (request := await _read(reader)) is not None:
                served.requests.append(request)
                served.changed.set()
                if served.cut_next:
                    served.cut_next = False
                    writer.transport.abort()
                    return
                if served.garble_next:
                    served.garble_next = False
                    writer.write(b"what is this?\r\n\r\n")
                    await writer.drain()
                    return
                work = asyncio.create_task(handler(request, Reply(writer)))
                gone = asyncio.create_task(reader.read(1))
                # Whoever hangs up while it waits for an answer is seen at once.
                await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
                if gone.done() and not work.done():
                    work.cancel()
                    await asyncio.wait({work})
                    return
                work.result()
                if gone.done():
                    return
                gone.cancel()
                await asyncio.wait({gone})
        except (ConnectionCut, ConnectionError):
            writer.transport.abort()
        finally:
            writer.close()
            served.connected -= 1
            served.changed.set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        answering.add(task)
        try:
            await answer(reader, writer)
        except asyncio.CancelledError:
            writer.transport.abort()
        finally:
            answering.discard(task)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    served = HttpServer(server.sockets[0].getsockname()[1])
    try:
        yield served
    finally:
        server.close()
        for task in tuple(answering):
            task.cancel()
        if answering:
            await asyncio.wait(tuple(answering))
        await server.wait_closed()


async def _read(reader: asyncio.StreamReader) -> Request | None:
    """Return the next request, or None where the client hung up."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    first, *lines = head.decode("latin-1").split("\r\n")
    method, path, _ = first.split(" ", 2)
    headers = {
        name.strip().lower(): value.strip()
        for name, _, value in (line.partition(":") for line in lines if line)
    }
    if headers.get("transfer-encoding") == "chunked":
        body = b""
        while size := int(await reader.readline(), 16):
            body += (await reader.readexactly(size + 2))[:-2]
        await reader.readline()
    else:
        body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Request(method, path, headers, body)
