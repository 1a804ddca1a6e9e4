"""Sessions over a WebSocket: the messages of `Converse`, one a binary frame.

The handshake proves who comes: `authorization: Bearer <token>`, or from a page, which cannot set
that header, the subprotocols `parley.v1, parley.token.<token>`. The URL carries no token.

What ends the connection is said twice: the last frame is a fatal `notice` with the status and its
details, and the close code is 4000 plus the gRPC code, its text the reason. 1000 is a good end on
either side; any other close by the client, or none, means that it may come back. A handshake that
must not take a place, for there is none or its address comes too fast, is refused by an HTTP status
instead.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager, suppress
from http import HTTPStatus
from typing import Final
from urllib.parse import parse_qs, urlsplit

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from parley.conversation.v1 import conversation_pb2
from services.common.auth import AccessTokenVerifier, bearer
from services.common.call_context import Caller, caller_var, client_address_var, request_id_var
from services.common.codes import Code
from services.common.errors import ParleyError, ResourceExhausted, Unauthenticated
from services.common.interceptors.failures import as_parley_error
from services.common.interceptors.gate import LEAVING_KEY, Gate, Phase
from services.common.interceptors.pace import ADDRESS_KEYS, Pace, address_in
from services.common.interceptors.request_id import REQUEST_ID_KEY, choose_request_id
from services.common.interceptors.validation import checked, malformed
from services.common.limits import Limits
from services.common.metrics import Metrics
from services.common.peer_tls import PeerTls
from services.common.status import to_status
from services.conversation import problems
from services.conversation.application import Conversations
from services.conversation.live import LiveSession
from services.conversation.transport import carry

PATH: Final = "/ws"
HEALTH_PATH: Final = "/healthz"
AFFINITY_PARAMETER: Final = "at"
SUBPROTOCOL: Final = Subprotocol("parley.v1")
TOKEN_PREFIX: Final = "parley.token."  # noqa: S105 - what stands before one, not one

FIRST_CLOSE_CODE: Final = 4000
"""A failure's close code is this plus its gRPC code."""

GOOD_END: Final = 1000

# A frame up to so many times the limit is read and refused with a reason, and the session goes on;
# a larger one is refused by its announced length, and closes the connection (1009).
_READ_OVER = 2

# Frames read ahead of the session. Full policy: the socket is not read, and TCP slows the sender.
_READ_AHEAD = 16

# Written ahead of the client, as much as the gateway holds of a gRPC stream.
_WRITE_AHEAD_BYTES = 64 * 1024

# A client that vanished without a word is noticed after 20 + 20 s.
_PING_S = 20.0

# A client in good health answers a close at once.
_CLOSE_S = 1.0

# A close frame's text has 123 bytes at most.
_MAX_REASON_BYTES = 123

# The library's own lines would hold headers, and so tokens, at its most talkative level.
_library_log = logging.getLogger("parley.websocket")
_library_log.setLevel(logging.CRITICAL)


class WebSocketSessions:
    """The server of one port.

    Full policy: connections beyond `Limits.concurrent_calls` are answered HTTP 503, those of an
    address that come too fast HTTP 429. A place is held from the handshake on.
    """

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
        self._conversations = conversations
        self._verifier = verifier
        self._gate = gate
        self._pace = pace
        self._metrics = metrics.method(PATH)
        self._limits = limits
        self._origins = frozenset(origins)
        self._tls = tls
        self._places: set[_Connection] = set()
        self._decode = checked(
            conversation_pb2.ConverseRequest.FromString, limits.max_stream_message_bytes
        )

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
            process_request=self._admit,
            create_connection=_Connection,
            subprotocols=[SUBPROTOCOL],
            # Speech does not shrink, and a compressor's window costs each session 64 KiB.
            compression=None,
            max_size=self._limits.max_stream_message_bytes * _READ_OVER,
            max_queue=_READ_AHEAD,
            write_limit=_WRITE_AHEAD_BYTES,
            ping_interval=_PING_S,
            ping_timeout=_PING_S,
            open_timeout=self._limits.start_timeout_seconds,
            close_timeout=_CLOSE_S,
            server_header=None,
            logger=_library_log,
            ssl=self._tls.server_context() if self._tls else None,
        )
        try:
            yield int(next(iter(server.sockets)).getsockname()[1])
        finally:
            await _close(server)

    # --- the handshake ------------------------------------------------------------------------

    def _admit(self, connection: ServerConnection, request: Request) -> Response | None:
        """Refuse a handshake that is none of ours; what a page must be told comes later."""
        if request.path == HEALTH_PATH:
            return self._health(connection)
        url = urlsplit(request.path)
        if url.path != PATH:
            return connection.respond(HTTPStatus.NOT_FOUND, "WebSockets are at /ws.\n")
        if not self._may_come_from(request.headers):
            return connection.respond(HTTPStatus.FORBIDDEN, "Not from this origin.\n")
        address = _address(request.headers)
        try:
            if address is not None:
                # Before the token is looked at: forged ones cost their sender's budget.
                self._pace.admit_address(address)
        except ResourceExhausted as error:
            refused = connection.respond(HTTPStatus.TOO_MANY_REQUESTS, f"{error.reason}\n")
            refused.headers["Retry-After"] = str(math.ceil(error.retry_after or 1))
            return refused
        if len(self._places) >= self._limits.concurrent_calls:
            return connection.respond(HTTPStatus.SERVICE_UNAVAILABLE, "Too many connections.\n")
        if self._gate.phase is Phase.STOPPING and AFFINITY_PARAMETER not in parse_qs(url.query):
            # Who came back to this very process is told so by a close code; anybody else may be
            # taken by another before a word was said.
            refused = connection.respond(HTTPStatus.SERVICE_UNAVAILABLE, "Stopping.\n")
            refused.headers[LEAVING_KEY] = "true"
            return refused
        assert isinstance(connection, _Connection)
        connection.hold_place(self._places)
        return None

    def _health(self, connection: ServerConnection) -> Response:
        """Answer the gateway, which asks whether new sessions may be sent here."""
        if self._gate.phase is Phase.SERVING:
            return connection.respond(HTTPStatus.OK, "serving\n")
        return connection.respond(HTTPStatus.SERVICE_UNAVAILABLE, "not serving\n")

    def _may_come_from(self, headers: Headers) -> bool:
        """Tell whether the page behind a handshake may call us: of our own host, or a listed one.

        Programs that are no browsers send no origin.
        """
        origin = headers.get("Origin")
        if origin is None or origin in self._origins or "*" in self._origins:
            return True
        return bool(origin) and urlsplit(origin).netloc == headers.get("Host")

    async def _who(self, headers: Headers) -> Caller:
        given = headers.get("Authorization")
        if given is not None:
            return await self._verifier.verify(bearer(given))
        for value in headers.get_all("Sec-WebSocket-Protocol"):
            for each in value.split(","):
                if each.strip().startswith(TOKEN_PREFIX):
                    return await self._verifier.verify(each.strip().removeprefix(TOKEN_PREFIX))
        raise Unauthenticated("A session needs an access token.", reason="TOKEN_MISSING")

    # --- a connection -------------------------------------------------------------------------

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
            address = _address(headers)
            client_address_var.set(address)
            caller = await self._who(headers)
            caller_var.set(caller)
            if address is not None:
                self._pace.begin(caller.user_id)
                counted = caller.user_id
            await self._converse(socket, caller)
            await socket.close(GOOD_END)
        except (ConnectionClosed, asyncio.CancelledError) as error:
            code = Code.CANCELLED
            if isinstance(error, asyncio.CancelledError):
                raise
        except Exception as error:  # noqa: BLE001 - the border: whatever it is becomes a close code
            told = as_parley_error(error, PATH)
            code = told.code
            await _refuse(socket, told, request_id)
        finally:
            if counted:
                self._pace.end(counted)
            if inside:
                self._gate.leave()
            self._metrics.ended(code, time.perf_counter() - started)

    async def _converse(self, socket: ServerConnection, caller: Caller) -> None:
        first = await self._first(socket)
        live, connection = await self._conversations.open(caller, first.start, first.seq)

        async def write(response: conversation_pb2.ConverseResponse) -> None:
            await socket.send(response.SerializeToString())

        try:
            await carry(live, connection, write, self._read(live, socket))
        except asyncio.CancelledError:
            if connection.error is None:
                raise
            # The client does not read; the reason may still find it.
            raise connection.error from None

    async def _first(self, socket: ServerConnection) -> conversation_pb2.ConverseRequest:
        try:
            async with asyncio.timeout(self._limits.start_timeout_seconds):
                first = self._decoded(await socket.recv())
        except TimeoutError:
            raise problems.start_required() from None
        if not first.HasField("start"):
            raise problems.start_required()
        return first

    async def _read(self, live: LiveSession, socket: ServerConnection) -> None:
        """Hand the client's messages to the session until it closes in good order."""
        last_seq = 0
        try:
            while True:
                data = await socket.recv()
                try:
                    message = self._decoded(data)
                except ParleyError as error:
                    live.refuse(error, int(error.metadata.get("seq", "0")))
                    continue
                last_seq = message.seq
                await live.receive(message)
        except ConnectionClosed as closed:
            if closed.rcvd is None or closed.rcvd.code != GOOD_END:
                raise
            finish = conversation_pb2.ConverseRequest(
                seq=last_seq + 1, finish=conversation_pb2.Finish()
            )
            await live.receive(finish)

    def _decoded(self, data: str | bytes) -> conversation_pb2.ConverseRequest:
        """Return the message of a frame.

        Raises:
            ParleyError: MALFORMED_MESSAGE, also for a text frame; MESSAGE_TOO_LARGE;
                INVALID_REQUEST.
        """
        if isinstance(data, str):
            raise malformed()
        message: conversation_pb2.ConverseRequest = self._decode(data)
        return message


class _Connection(ServerConnection):
    """A connection that may hold a place, from its handshake until it is lost."""

    _held: set[_Connection] | None = None

    def hold_place(self, places: set[_Connection]) -> None:
        """Take a place among `places`; it is free again when nothing is left of the connection."""
        self._held = places
        places.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Give the place back."""
        if self._held is not None:
            self._held.discard(self)
        super().connection_lost(exc)


def _address(headers: Headers) -> str | None:
    return address_in({key: ",".join(headers.get_all(key)) for key in ADDRESS_KEYS})


async def _refuse(socket: ServerConnection, error: ParleyError, request_id: str) -> None:
    """Say what ends the connection, and close it. Bounded: a client may not be reading."""
    notice = conversation_pb2.Notice(status=to_status(error, request_id), fatal=True)
    last = conversation_pb2.ConverseResponse(notice=notice)
    reason = error.reason.encode()[:_MAX_REASON_BYTES].decode()
    with suppress(ConnectionClosed, TimeoutError):
        async with asyncio.timeout(_CLOSE_S):
            await socket.send(last.SerializeToString())
            await socket.close(FIRST_CLOSE_CODE + error.code.value, reason)


async def _close(server: Server) -> None:
    """Close the port, then what is still connected; the sessions were ended before."""
    server.close(close_connections=False)
    with suppress(TimeoutError):
        async with asyncio.timeout(_CLOSE_S):
            # Clients are being told why; who does not listen is not waited for.
            await server.wait_closed()
    for each in server.connections:
        each.transport.abort()
    await server.wait_closed()
