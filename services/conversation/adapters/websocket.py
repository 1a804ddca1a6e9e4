"""Sessions over a WebSocket: the messages of `Converse`, one a binary frame.

`websocket_handshake.py` says who may open one, `websocket_session.py` what is said over it.

What ends the connection is said twice: the last frame is a fatal `notice` with the status and its
details, and the close code is 4000 plus the gRPC code, its text the reason. 1000 is a good end on
either side; any other close by the client, or none, means that it may come back.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager, suppress

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from services.common.auth import AccessTokenVerifier
from services.common.call_context import caller_var, client_address_var, request_id_var
from services.common.codes import Code
from services.common.interceptors.failures import as_parley_error
from services.common.interceptors.gate import Gate
from services.common.interceptors.pace import Pace
from services.common.interceptors.request_id import REQUEST_ID_KEY, choose_request_id
from services.common.limits import Limits
from services.common.metrics import Metrics
from services.common.peer_tls import PeerTls
from services.conversation.adapters.websocket_handshake import (
    PATH,
    SUBPROTOCOL,
    Handshakes,
    HeldConnection,
    address_of,
)
from services.conversation.adapters.websocket_session import (
    CLOSE_S,
    GOOD_END,
    SocketSessions,
    refuse,
)
from services.conversation.application import Conversations

# A frame up to so many times the limit is read and refused with a reason, and the session goes on;
# a larger one is refused by its announced length, and closes the connection (1009).
_READ_OVER = 2

# Frames read ahead of the session. Full policy: the socket is not read, and TCP slows the sender.
_READ_AHEAD = 16

# Written ahead of the client, as much as the gateway holds of a gRPC stream.
_WRITE_AHEAD_BYTES = 64 * 1024

# A client that vanished without a word is noticed after 20 + 20 s.
_PING_S = 20.0

# The library's own lines would hold headers, and so tokens, at its most talkative level.
_library_log = logging.getLogger("parley.websocket")
_library_log.setLevel(logging.CRITICAL)


class WebSocketSessions:
    """The server of one port; see `Handshakes` for what it does when it is full."""

    def __init__(
        self,
        conversations: Conversations,
        verifier: AccessTokenVerifier,
        gate: Gate,
        pace: Pace,
        metrics: Metrics,
        limits: Limits,
        origins: Collection[str],
        tls: PeerTls | None = None,
    ) -> None:
        self._sessions = SocketSessions(conversations, limits)
        self._handshakes = Handshakes(verifier, gate, pace, limits.concurrent_calls, origins)
        self._gate = gate
        self._pace = pace
        self._metrics = metrics.method(PATH)
        self._limits = limits
        self._tls = tls

    @asynccontextmanager
    async def listen(self, host: str, port: int) -> AsyncIterator[int]:
        """Take connections until the block is left; yield the port.

        Raises:
            OSError: the port is taken.
            KeyFileError: the files of TLS between services cannot be used.
        """
        server = await serve(
            self._serve,
            host,
            port,
            process_request=self._handshakes.admit,
            create_connection=HeldConnection,
            subprotocols=[SUBPROTOCOL],
            # Speech does not shrink, and a compressor's window costs each session 64 KiB.
            compression=None,
            max_size=self._limits.max_stream_message_bytes * _READ_OVER,
            max_queue=_READ_AHEAD,
            write_limit=_WRITE_AHEAD_BYTES,
            ping_interval=_PING_S,
            ping_timeout=_PING_S,
            open_timeout=self._limits.start_timeout_seconds,
            close_timeout=CLOSE_S,
            server_header=None,
            logger=_library_log,
            ssl=self._tls.server_context() if self._tls else None,
        )
        try:
            yield int(next(iter(server.sockets)).getsockname()[1])
        finally:
            await _close(server)

    async def _serve(self, socket: ServerConnection) -> None:
        """Hold one session over one connection."""
        started = time.perf_counter()
        self._metrics.started()
        assert socket.request is not None
        headers = socket.request.headers
        request_id = choose_request_id(headers.get(REQUEST_ID_KEY))
        request_id_var.set(request_id)
        code, inside, counted = Code.OK, False, ""
        try:
            self._gate.enter()
            inside = True
            address = address_of(headers)
            client_address_var.set(address)
            caller = await self._handshakes.learner(headers)
            caller_var.set(caller)
            if address is not None:
                self._pace.begin(caller.user_id)
                counted = caller.user_id
            await self._sessions.hold(socket, caller)
            await socket.close(GOOD_END)
        except (ConnectionClosed, asyncio.CancelledError) as error:
            code = Code.CANCELLED
            if isinstance(error, asyncio.CancelledError):
                raise
        except Exception as error:  # noqa: BLE001 - the border: whatever it is becomes a close code
            told = as_parley_error(error, PATH)
            code = told.code
            await refuse(socket, told, request_id)
        finally:
            if counted:
                self._pace.end(counted)
            if inside:
                self._gate.leave()
            self._metrics.ended(code, time.perf_counter() - started)


async def _close(server: Server) -> None:
    """Close the port, then what is still connected; the sessions were ended before."""
    server.close(close_connections=False)
    with suppress(TimeoutError):
        async with asyncio.timeout(CLOSE_S):
            # Clients are being told why; who does not listen is not waited for.
            await server.wait_closed()
    for each in server.connections:
        each.transport.abort()
    await server.wait_closed()
