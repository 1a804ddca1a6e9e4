"""One live engine session of the ai service.

Two kinds of messages go to it. Audio is awaited, so that a slow engine slows the reader of the
learner's microphone. Everything else is posted: it never waits, and goes out after all audio that
came before it and before any that comes later. There is no task or queue per frame.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Protocol

import grpc.aio

from parley.ai.v1 import ai_pb2
from services.common.errors import ParleyError, Unavailable
from services.common.status import from_rpc_error
from services.conversation import problems
from services.conversation.engine_audio import Crowd, EngineAudio

if TYPE_CHECKING:
    from parley.ai.v1.ai_pb2_grpc import AiServiceAsyncStub

# A session's models are loaded when the service is ready; opening one takes milliseconds, waiting
# for a busy language model's slot some seconds.
OPEN_TIMEOUT_S = 15.0

# How the ai service's reasons read to a learner's client.
_UNAVAILABLE = frozenset({"DEADLINE_EXCEEDED", "PEER_FAILED", "INTERNAL"})
_UNKNOWN: dict[str, Callable[[str], ParleyError]] = {
    "UNKNOWN_ENGINE": problems.unknown_engine,
    "UNKNOWN_VOICE": problems.unknown_voice,
}


class Engine(Protocol):
    """A live engine session, ready."""

    ready: ai_pb2.EngineReady

    def post(self, request: ai_pb2.ConverseRequest) -> None:
        """Send something other than audio; never waits. After the end it is dropped."""
        ...

    def send_audio(self, pcm: bytes) -> Awaitable[None] | None:
        """Send audio; return what to await before more of it is sent, if anything.

        That waits while the engine cannot take it. After the end it is dropped. A moment of it may
        be held back until more comes, or a message is posted: then there is nothing to await.
        """
        ...

    async def receive(self) -> ai_pb2.ConverseResponse | None:
        """Return the next message; None when the engine has ended in good order.

        Raises:
            ParleyError: the stream broke.
        """
        ...

    async def close(self) -> None:
        """Drop the stream."""
        ...


class Engines(Protocol):
    """Opens engine sessions."""

    async def open(self, start: ai_pb2.StartEngine) -> Engine:
        """Open a session that begins with `start`, and wait until it is ready.

        Raises:
            ParleyError: it cannot be had: what the ai service says, or ENGINE_UNAVAILABLE.
        """
        ...


class GrpcEngines:
    """Engines of the ai service."""

    def __init__(self, stub: AiServiceAsyncStub, timeout_s: float = OPEN_TIMEOUT_S) -> None:
        self._stub = stub
        self._timeout_s = timeout_s
        self._crowd = Crowd()

    async def open(self, start: ai_pb2.StartEngine) -> GrpcEngine:
        """Open a session. See `Engines`."""
        call: Any = self._stub.Converse()
        try:
            async with asyncio.timeout(self._timeout_s):
                await call.write(ai_pb2.ConverseRequest(start=start))
                first = await call.read()
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            first = grpc.aio.EOF
        except TimeoutError as error:
            call.cancel()
            raise problems.engine_unavailable() from error
        except BaseException:
            call.cancel()
            raise
        if first is grpc.aio.EOF:
            raise await _failure_of(call)
        if first.WhichOneof("message") != "ready":
            call.cancel()
            raise problems.engine_unavailable()
        return GrpcEngine(call, first.ready, self._crowd)


class GrpcEngine:
    """One call of `ai.v1.Converse` past its `ready`. It counts in `crowd` until it is closed."""

    def __init__(self, call: Any, ready: ai_pb2.EngineReady, crowd: Crowd) -> None:
        self.ready = ready
        self._call = call
        self._crowd = crowd
        self._crowd.sessions += 1
        self._counted = True
        self._audio = EngineAudio(crowd)
        self._writing = asyncio.Lock()
        # Control messages of one turn number about ten, and each is written at once unless a frame
        # is being written. Full policy: none; a stream that takes nothing ends by keepalive.
        self._posted: deque[ai_pb2.ConverseRequest] = deque()
        self._flushing: asyncio.Task[None] | None = None
        self._over = False

    def post(self, request: ai_pb2.ConverseRequest) -> None:
        """Send something other than audio. See `Engine`."""
        if self._over:
            return
        self._note_floor(request)
        held = self._audio.take()
        if held:
            self._posted.append(_audio(held))
        self._posted.append(request)
        if self._flushing is None or self._flushing.done():
            self._flushing = asyncio.create_task(self._flush())

    def send_audio(self, pcm: bytes) -> Awaitable[None] | None:
        """Send audio. See `Engine`."""
        if self._over:
            return None
        messages = self._audio.add(pcm)
        return self._write_audio(messages) if messages else None

    async def _write_audio(self, messages: tuple[bytes, ...]) -> None:
        async with self._writing:
            try:
                await self._write_posted()
                for message in messages:
                    await self._call.write(_audio(message))
            except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
                # The reading side tells what happened.
                self._over = True

    async def receive(self) -> ai_pb2.ConverseResponse | None:
        """Return the next message. See `Engine`."""
        try:
            response = await self._call.read()
        except grpc.aio.AioRpcError as error:
            self._over = True
            raise typed(error) from error
        if response is grpc.aio.EOF:
            self._over = True
            if await self._call.code() is not grpc.StatusCode.OK:
                raise await _failure_of(self._call)
            return None
        message: ai_pb2.ConverseResponse = response
        if message.HasField("turn_committed"):
            self._audio.decided()
        return message

    async def close(self) -> None:
        """Drop the stream. See `Engine`."""
        self._over = True
        if self._counted:
            self._counted = False
            self._crowd.sessions -= 1
        self._posted.clear()
        if self._flushing is not None:
            self._flushing.cancel()
            await asyncio.gather(self._flushing, return_exceptions=True)
        self._call.cancel()

    def _note_floor(self, request: ai_pb2.ConverseRequest) -> None:
        kind = request.WhichOneof("message")
        if kind == "floor":
            self._audio.floor(tutor=request.floor.floor == ai_pb2.FLOOR_TUTOR)
        elif kind in ("interrupt", "reply_heard"):
            self._audio.floor(tutor=False)

    async def _flush(self) -> None:
        async with self._writing:
            try:
                await self._write_posted()
            except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
                self._over = True

    async def _write_posted(self) -> None:
        while self._posted:
            await self._call.write(self._posted.popleft())


def _audio(pcm: bytes) -> ai_pb2.ConverseRequest:
    return ai_pb2.ConverseRequest(audio=ai_pb2.EngineAudio(pcm=pcm))


def typed(error: grpc.aio.AioRpcError) -> ParleyError:
    """Return what the learner is told of a failed call: the ai service's own words, if any.

    Names that the ai service does not find were the caller's: here they are a wrong argument.
    """
    found = from_rpc_error(error, "ai")
    if found.reason in _UNAVAILABLE or isinstance(found, Unavailable):
        return problems.engine_unavailable()
    if found.reason in _UNKNOWN:
        return _UNKNOWN[found.reason](found.message)
    if found.reason == "AT_CAPACITY":
        return problems.at_capacity(found.retry_after)
    return found


async def _failure_of(call: Any) -> ParleyError:
    """Return why a call that is over has failed."""
    code = await call.code()
    if code is grpc.StatusCode.OK:
        return problems.engine_unavailable()
    return typed(
        grpc.aio.AioRpcError(
            code,
            await call.initial_metadata(),
            await call.trailing_metadata(),
            await call.details(),
        )
    )
