"""A caller of Parley that hides nothing: raw streams, no reconnecting, every status as it came."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import secrets
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio

from parley.conversation.v1 import conversation_pb2, conversation_pb2_grpc
from parley.history.v1 import history_pb2, history_pb2_grpc
from parley.user.v1 import user_pb2, user_pb2_grpc
from services.common.errors import ParleyError
from services.common.status import from_rpc_error, from_status

# Anything that takes longer hangs, as far as a person is concerned.
BOUND_S = 30.0

# The race that hides a status is lost in about one of six tries.
STATUS_TRIES = 8


class Caller:
    """An account and a channel."""

    def __init__(self, address: str) -> None:
        # Messages larger than any limit may leave: whether they are refused is what is asked.
        options = [("grpc.max_send_message_length", -1)]
        self.target = address
        self.channel = grpc.aio.insecure_channel(address, options=options)
        self.user = user_pb2_grpc.UserServiceStub(self.channel)
        self.conversation = conversation_pb2_grpc.ConversationServiceStub(self.channel)
        self.history = history_pb2_grpc.HistoryServiceStub(self.channel)
        self.token = ""
        self.user_id = ""
        self.besides: dict[str, str] = {}
        """Headers of every call, besides the token."""

    async def register(self) -> None:
        """Make an account and sign in."""
        response = await self.user.Register(
            user_pb2.RegisterRequest(
                username=f"caller-{secrets.token_hex(6)}", password=secrets.token_urlsafe(16)
            ),
            timeout=BOUND_S,
        )
        self.token = response.tokens.access_token
        self.user_id = response.account.user_id

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What every call carries."""
        return (("authorization", f"Bearer {self.token}"), *self.besides.items())

    async def turns(self, conversation_id: str) -> list[history_pb2.TurnRecord]:
        """Return the turns that history has."""
        response = await self.history.GetConversation(
            history_pb2.GetConversationRequest(conversation_id=conversation_id),
            metadata=self.metadata,
            timeout=BOUND_S,
        )
        return list(response.turns)


@contextlib.asynccontextmanager
async def caller(address: str) -> AsyncIterator[Caller]:
    """Yield a caller with a new account."""
    one = Caller(address)
    try:
        await one.register()
        yield one
    finally:
        await one.channel.close()


class StatusHiddenError(Exception):
    """grpc.aio put a status of its own in the place of the server's.

    A write that races with the end of its call fails inside gRPC, and that failure overwrites what
    the server said (grpcio 1.85). Whoever wants the server's word must ask again.
    """


class RawTalk:
    """One `Converse` stream, message by message. A loudspeaker is feigned: all is heard at once.

    talk = RawTalk(caller)
    await talk.start()                  # or open(...), for another first message
    await talk.send(text={"text": "Hello"})
    await talk.until("turn_saved")
    """

    def __init__(self, caller: Caller, token: str | None = None) -> None:
        metadata = caller.metadata
        if token is not None:
            metadata = (("authorization", f"Bearer {token}"),)
        self._method = functools.partial(caller.conversation.Converse, metadata=metadata)
        self.call = self._method()
        self.conversation_id = ""
        self.saved: list[tuple[int, str]] = []
        self.notices: list[ParleyError] = []
        self._seq = 0

    async def send(self, **message: Any) -> None:
        """Send one message, such as `text={"text": "Hello"}`.

        A stream that is over takes none; reading says why.
        """
        self._seq += 1
        with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
            await self.call.write(conversation_pb2.ConverseRequest(seq=self._seq, **message))

    async def open(self, **first: Any) -> conversation_pb2.ConverseResponse:
        """Send the first message and return its answer, before anything else is written.

        Where the answer was hidden, nothing was opened: the stream is begun again.

        Raises:
            ParleyError: the refusal, as the server or the gateway worded it.
        """
        for _ in range(STATUS_TRIES):
            await self.send(**first)
            try:
                async with asyncio.timeout(BOUND_S):
                    return await self.read()
            except StatusHiddenError:
                self.call.cancel()
                self.call = self._method()
                self._seq = 0
        raise AssertionError(f"the status was hidden {STATUS_TRIES} times in a row")

    async def start(self, **fields: Any) -> None:
        """Open the session on the scripted engine."""
        first = await self.open(start=conversation_pb2.StartSession(engine="scripted", **fields))
        if not first.HasField("started"):
            await self.until("started")

    async def until(self, kind: str) -> conversation_pb2.ConverseResponse:
        """Read until a message of this kind comes; a stream that ends raises its `ParleyError`."""
        async with asyncio.timeout(BOUND_S):
            while True:
                response = await self.read()
                if response.WhichOneof("message") == kind:
                    return response

    async def read(self) -> conversation_pb2.ConverseResponse:
        """Read one message."""
        try:
            response = await self.call.read()
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.INTERNAL and "from Core" in (error.details() or ""):
                raise StatusHiddenError(error.details()) from error
            raise from_rpc_error(error) from error
        if response is grpc.aio.EOF:
            raise EOFError("the stream ended in good order")
        assert isinstance(response, conversation_pb2.ConverseResponse)
        await self._note(response)
        return response

    async def _note(self, response: conversation_pb2.ConverseResponse) -> None:
        kind = response.WhichOneof("message")
        if kind == "started":
            self.conversation_id = response.started.conversation_id
        elif kind == "turn_saved":
            self.saved.append((response.turn_saved.number, response.turn_saved.turn_id))
        elif kind == "notice":
            self.notices.append(from_status(response.notice.status))
        elif kind == "reply_audio":
            audio = response.reply_audio
            ends_ms = audio.offset_ms + len(audio.pcm) // 48
            await self.send(heard={"generation": response.generation, "audio_ms": ends_ms})
