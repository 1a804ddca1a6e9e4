"""A small WebSocket server in this loop, for vendors' protocols: it counts connections and breaks.

It knows nothing of any vendor.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from tests.contract.vendors.faults import Break
from tests.contract.vendors.http_server import GRACE_S

RATE_HZ = 24_000
MS_PER_WORD = 200
"""How long each word of a stand-in's reply takes to say."""


def sound(words: int = 1) -> bytes:
    """Return a tone as long as so many words: 16-bit mono PCM at 24 kHz."""
    samples = words * MS_PER_WORD * RATE_HZ // 1000
    return b"\x10\x27\xf0\xd8" * (samples // 2)


class Broke(Exception):
    """The connection was broken on purpose."""


@dataclass(slots=True)
class Connections:
    """Who is connected, and who was."""

    connected: int = 0
    opened: int = 0
    port: int = 0
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    _open: set[ServerConnection] = field(default_factory=set)

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until ``holds``, which is looked at whenever something comes. ``TimeoutError``."""
        async with asyncio.timeout(GRACE_S):
            while not holds():
                self.changed.clear()
                await self.changed.wait()

    async def until_connected(self, count: int) -> None:
        """Wait until so many connections are open. Raises ``TimeoutError``."""
        await self.until(lambda: self.connected == count)

    def cut(self) -> None:
        """Cut every connection, as a network does."""
        for connection in tuple(self._open):
            connection.transport.abort()


async def send(connection: ServerConnection, message: object) -> None:
    """Send ``message`` as JSON."""
    await connection.send(json.dumps(message, ensure_ascii=False))


async def break_connection(connection: ServerConnection, how: Break) -> None:
    """Break ``connection``; raises ``Broke`` where nothing can follow."""
    match how:
        case Break.SILENT | Break.STALLS:
            await connection.wait_closed()
        case Break.CUT:
            connection.transport.abort()
        case Break.ENDS_EARLY:
            await connection.close()
        case Break.GARBAGE:
            await connection.send("{not json")
        case Break.WRONG_FORM:
            await connection.send('{"type": 7, "serverContent": 7}')
    raise Broke


@asynccontextmanager
async def websocket_server(
    connections: Connections,
    answer: Callable[[ServerConnection, dict[str, Any]], Awaitable[None]],
    refuse: Callable[[ServerConnection, Request], Response | None],
    begun: Callable[[ServerConnection], Awaitable[None]],
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[None]:
    """Serve on a free port. ``refuse`` sees the handshake, ``begun`` speaks first."""

    async def serve_one(connection: ServerConnection) -> None:
        connections.connected += 1
        connections.opened += 1
        connections._open.add(connection)
        connections.changed.set()
        try:
            await begun(connection)
            async for message in connection:
                await answer(connection, json.loads(message))
                connections.changed.set()
        except (ConnectionClosed, Broke):
            pass
        finally:
            connections._open.discard(connection)
            connections.connected -= 1
            connections.changed.set()

    async with serve(
        serve_one,
        "127.0.0.1",
        0,
        ssl=tls,
        process_request=refuse,
        close_timeout=1,
        max_size=2**24,
    ) as server:
        connections.port = next(iter(server.sockets)).getsockname()[1]
        yield


def refusal(connection: ServerConnection, status: int, body: object) -> Response:
    """Return the handshake's refusal."""
    return connection.respond(HTTPStatus(status), json.dumps(body) + "\n")
