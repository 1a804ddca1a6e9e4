"""What every way into a session has in common: writing what it says, reading what the client says.

A transport gives `carry` three things: a connection, how to write one response, and a coroutine
that hands the client's messages to the session until the client has closed its side.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from parley.conversation.v1 import conversation_pb2
from services.conversation import problems
from services.conversation.connection import Connection
from services.conversation.live import LiveSession
from services.conversation.responses import Response

Write = Callable[[Response], Awaitable[None]]
"""Writes one response; waits while the client does not read."""

HEARTBEAT_S = 15.0
"""After so much silence a pong is sent that nobody asked for, with nonce and `seq` 0.

Middleboxes forget a stream on which nothing moved for a minute, some after thirty seconds. A page
cannot see the pings of its own WebSocket; of this it sees that its server is still there.
"""

# After the client has gone its last message may still be on its way to the engine; cutting that
# short would cut the engine's stream.
_LAST_MESSAGE_S = 0.5

# A client that is cut off for not reading may still take the write it is in.
_LAST_WRITE_S = 1.0

# Between the end of a cut stream's messages and its cancellation lie two turns of the event loop.
_CUT_IS_KNOWN_S = 0.05


async def carry(
    live: LiveSession,
    connection: Connection,
    write: Write,
    reading: Coroutine[Any, Any, None] | None,
    *,
    heartbeat_s: float = HEARTBEAT_S,
) -> None:
    """Join a connection with its transport until either ends.

    Args:
        live: the session.
        connection: the client's connection to it.
        write: how a response reaches the client.
        reading: returns when the client has closed its side in good order; what it raises ends
            the connection. None where the client's messages come another way.
        heartbeat_s: how long the stream may be silent.

    Raises:
        ParleyError: what the stream ends with.
        CancelledError: not even that could be written.
    """
    loop = asyncio.get_running_loop()
    writer = asyncio.create_task(_write(connection, write))
    reader = None
    if reading is not None:
        reader = asyncio.create_task(_client_side(live, connection, reading))
        reader.add_done_callback(lambda task: _broken(task) and writer.cancel())
    patience: asyncio.TimerHandle | None = None

    def aborted() -> None:
        nonlocal patience
        patience = loop.call_later(_LAST_WRITE_S, writer.cancel)

    connection.aborted = aborted
    heart = _Heart(connection, heartbeat_s)
    try:
        await writer
    except asyncio.CancelledError:
        if reader is not None and _broken(reader):
            reader.result()
        raise
    finally:
        heart.stop()
        live.detach(connection)
        if patience is not None:
            patience.cancel()
        writer.cancel()
        if reader is not None:
            await asyncio.wait({reader}, timeout=_LAST_MESSAGE_S)
            reader.cancel()
            await asyncio.gather(writer, reader, return_exceptions=True)


async def carry_upload(live: LiveSession, reading: Coroutine[Any, Any, None]) -> None:
    """Let an upload's messages come until the client has closed it, or the session is over.

    Args:
        live: the session.
        reading: hands the messages on; returns when the client has closed its side.

    Raises:
        Aborted: TAKEN_OVER, another upload of the session has begun.
    """
    must_end = live.intake.begin_upload()
    reader = asyncio.create_task(reading)
    try:
        await asyncio.wait({reader, must_end}, return_when=asyncio.FIRST_COMPLETED)
        if reader.done():
            return reader.result()
        if not live.over:
            raise problems.taken_over()
        return None
    finally:
        # What is on its way to the engine arrives whole, whoever went away.
        await asyncio.wait({reader}, timeout=_LAST_MESSAGE_S)
        reader.cancel()
        await asyncio.gather(reader, return_exceptions=True)


async def _write(connection: Connection, write: Write) -> None:
    while (response := await connection.next()) is not None:
        await write(response)


async def _client_side(
    live: LiveSession, connection: Connection, reading: Coroutine[Any, Any, None]
) -> None:
    await reading
    # A stream that was cut ends the same way as one that was closed; a moment later it is known.
    await asyncio.sleep(_CUT_IS_KNOWN_S)
    live.client_done(connection)


def _broken(reader: asyncio.Task[None]) -> bool:
    return reader.done() and not reader.cancelled() and reader.exception() is not None


class _Heart:
    """Beats while nothing else is written."""

    def __init__(self, connection: Connection, every_s: float) -> None:
        self._connection = connection
        self._every_s = every_s
        self._written = connection.written
        self._timer = self._wind()

    def _wind(self) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(self._every_s, self._beat)

    def _beat(self) -> None:
        if self._connection.written == self._written:
            pong = conversation_pb2.Pong()
            pong.server_time.GetCurrentTime()
            self._connection.put_aside(conversation_pb2.ConverseResponse(pong=pong))
        self._written = self._connection.written
        self._timer = self._wind()

    def stop(self) -> None:
        self._timer.cancel()
