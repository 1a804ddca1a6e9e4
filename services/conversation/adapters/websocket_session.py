"""A session over one WebSocket that is open: its frames, in and out, and how it ends."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final

from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from parley.conversation.v1 import conversation_pb2
from services.common.call_context import Caller
from services.common.errors import ParleyError
from services.common.interceptors.validation import checked, malformed
from services.common.limits import Limits
from services.common.status import to_status
from services.conversation import problems
from services.conversation.application import Conversations
from services.conversation.live import LiveSession
from services.conversation.transport import carry

FIRST_CLOSE_CODE: Final = 4000
"""A failure's close code is this plus its gRPC code."""

GOOD_END: Final = 1000

# A client in good health answers a close at once.
CLOSE_S: Final = 1.0

# A close frame's text has 123 bytes at most.
_MAX_REASON_BYTES = 123


class SocketSessions:
    """Carries a learner's session over a connection."""

    def __init__(self, conversations: Conversations, limits: Limits) -> None:
        self._conversations = conversations
        self._start_timeout_s = limits.start_timeout_seconds
        self._decode = checked(
            conversation_pb2.ConverseRequest.FromString, limits.max_stream_message_bytes
        )

    async def hold(self, socket: ServerConnection, caller: Caller) -> None:
        """Hold one session until either side ends it.

        Raises:
            ParleyError: what ends it, for the client to be told.
            ConnectionClosed: the client went away, and may come back.
        """
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
            async with asyncio.timeout(self._start_timeout_s):
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


async def refuse(socket: ServerConnection, error: ParleyError, request_id: str) -> None:
    """Say what ends the connection, and close it. Bounded: a client may not be reading."""
    notice = conversation_pb2.Notice(status=to_status(error, request_id), fatal=True)
    last = conversation_pb2.ConverseResponse(notice=notice)
    reason = error.reason.encode()[:_MAX_REASON_BYTES].decode()
    with suppress(ConnectionClosed, TimeoutError):
        async with asyncio.timeout(CLOSE_S):
            await socket.send(last.SerializeToString())
            await socket.close(FIRST_CLOSE_CODE + error.code.value, reason)
