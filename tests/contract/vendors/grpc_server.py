"""A small gRPC server in this loop, for vendors' speech services: what they share, and faults.

It knows no vendor: one says which methods it has, what its messages look like and which key it
wants. Streams are counted as connections are, since a channel keeps its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import grpc.aio
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2

from tests.contract.vendors.faults import Break, Broken, Fault, Refusal, never
from tests.contract.vendors.http_server import GRACE_S

SPEECH_S = 0.6
"""How long every text takes to say, in seconds."""
_CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    500: grpc.StatusCode.INTERNAL,
    503: grpc.StatusCode.UNAVAILABLE,
}
# A string field that is not UTF-8, in the first field of a message in the first field.
_UNREADABLE = b"\x0a\x06\x0a\x04\x0a\x02\xff\xfe"
_NO_MESSAGE = b"\x0a\xff\xff\xff"

Context = grpc.aio.ServicerContext[Any, Any]


@dataclass(slots=True)
class GrpcVendor:
    """The stand-in: set ``reply``, ``fault`` before it is asked."""

    key: tuple[str, str]
    """The header with the key that it wants, and its value."""
    reply: str = "Nice to meet you! What do you like?"
    fault: Fault | None = None
    heard_s: list[float] = field(default_factory=list)
    """How long the sound of each stream was, in seconds."""
    requests: list[Any] = field(default_factory=list)
    """The first message of every call."""
    connected: int = 0
    port: int = 0
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def http(self) -> GrpcVendor:
        """Where requests and connections are counted, as with stand-ins that speak HTTP."""
        return self

    @property
    def base_url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.port}"

    async def until_connected(self, count: int) -> None:
        """Wait until so many calls are under way. Raises ``TimeoutError``."""
        await self._until(lambda: self.connected == count)

    async def until_asked(self, count: int) -> None:
        """Wait until so many calls have come. Raises ``TimeoutError``."""
        await self._until(lambda: len(self.requests) >= count)

    async def _until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(GRACE_S):
            while not holds():
                self.changed.clear()
                await self.changed.wait()

    # --- recognition ----------------------------------------------------------------------------

    async def recognize(
        self,
        context: Context,
        first: Any,
        sound_in: Callable[[Any], bytes],
        words_out: Callable[[list[str], bool], bytes],
    ) -> None:
        """Listen to the end; a word is heard every 200 ms, and all of them at the end."""
        with self._counted(first):
            await self._admit(context)
            if self._broken is Break.SILENT:
                await never()
            words = self.reply.split()
            samples, told = 0, 0
            try:
                while (message := await context.read()) is not grpc.aio.EOF:
                    samples += len(sound_in(message)) // 2
                    while told < min(samples // 3_200, len(words)):
                        told += 1
                        await context.write(words_out(words[:told], False))
            finally:
                self.heard_s.append(samples / 16_000)
            if self._broken is not None:
                await context.write(words_out(words[:1], False))
                await self._break(context, self._broken)
                return
            await context.write(words_out(words, True))

    # --- speech ---------------------------------------------------------------------------------

    async def speak(
        self, context: Context, first: Any, speed: float, sound_out: Callable[[bytes], bytes]
    ) -> None:
        """Say a text, in pieces of odd lengths."""
        with self._counted(first):
            await self._admit(context)
            if self._broken is Break.SILENT:
                await never()
            samples = int(SPEECH_S * 24_000 / speed)
            pcm = (b"\x10\x27\xf0\xd8" * samples)[: 2 * samples]
            after = self.fault.after if isinstance(self.fault, Broken) else 0
            for index, at in enumerate(range(0, len(pcm), 2001)):
                if self._broken is not None and index == after:
                    await self._break(context, self._broken)
                    return
                await context.write(sound_out(pcm[at : at + 2001]))

    # --- faults ---------------------------------------------------------------------------------

    @property
    def _broken(self) -> Break | None:
        return self.fault.how if isinstance(self.fault, Broken) else None

    @contextmanager
    def _counted(self, first: Any) -> Iterator[None]:
        self.requests.append(first)
        self.connected += 1
        self.changed.set()
        try:
            yield
        finally:
            self.connected -= 1
            self.changed.set()

    async def _admit(self, context: Context) -> None:
        if isinstance(self.fault, Refusal):
            await _refuse(context, self.fault)
        told = dict(context.invocation_metadata() or ())
        if told.get(self.key[0]) != self.key[1]:
            await _refuse(context, Refusal(401))

    async def _break(self, context: Context, how: Break) -> None:
        match how:
            case Break.STALLS:
                await never()
            case Break.CUT:
                await context.abort(grpc.StatusCode.UNAVAILABLE, "Socket closed")
            case Break.GARBAGE:
                await context.write(_NO_MESSAGE)
            case Break.WRONG_FORM:
                await context.write(_UNREADABLE)


async def _refuse(context: Context, refusal: Refusal) -> None:
    # The sentence quotes what was asked, as real ones do: it must never be passed on.
    code = _CODES[403 if refusal.code else refusal.status]
    status = status_pb2.Status(code=code.value[0], message="SECRET-PROMPT was refused")
    if after := refusal.headers.get("retry-after"):
        delay = duration_pb2.Duration(seconds=int(after))
        detail = any_pb2.Any()
        detail.Pack(error_details_pb2.RetryInfo(retry_delay=delay))
        status.details.append(detail)
    told = (("grpc-status-details-bin", status.SerializeToString()),)
    await context.abort(code, status.message, trailing_metadata=told)


def stream_handler(
    method: Callable[[Any, Context], Awaitable[None]], read: Callable[[bytes], Any]
) -> Any:
    """Return a handler whose requests are read with ``read`` and whose answers are bytes."""
    return grpc.stream_stream_rpc_method_handler(
        method, request_deserializer=read, response_serializer=lambda message: message
    )


@asynccontextmanager
async def grpc_server(
    vendor: GrpcVendor, services: dict[str, dict[str, Any]]
) -> AsyncIterator[None]:
    """Serve methods by their services' names on a free port."""
    server = grpc.aio.server()
    for name, methods in services.items():
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, methods),))
    vendor.port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield
    finally:
        await server.stop(None)
