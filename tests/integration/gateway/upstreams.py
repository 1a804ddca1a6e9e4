"""Stand-ins for the services behind the gateway, on the generated servicers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import grpc
import grpc.aio
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health

from gateway.render import LEAVING_HEADER
from gateway.routes import Service
from parley.ai.v1 import ai_pb2, ai_pb2_grpc
from parley.conversation.v1 import conversation_pb2, conversation_pb2_grpc
from parley.history.v1 import history_pb2, history_pb2_grpc
from parley.media.v1 import media_pb2_grpc
from parley.user.v1 import user_pb2, user_pb2_grpc

MAX_MESSAGE_BYTES = 4 * 1024 * 1024


class User(user_pb2_grpc.UserServiceServicer):
    """GetProfile answers with the metadata it was called with, as JSON in the user name."""

    def __init__(self) -> None:
        self.calls = 0
        self.refusals = 0

    async def GetProfile(self, request: Any, context: Any) -> user_pb2.GetProfileResponse:
        self.calls += 1
        if self.refusals:
            self.refusals -= 1
            await context.abort(grpc.StatusCode.UNAVAILABLE, "not now")
        seen = json.dumps(dict(context.invocation_metadata()))
        return user_pb2.GetProfileResponse(account=user_pb2.Account(username=seen))

    async def UpdateProfile(self, request: Any, context: Any) -> user_pb2.UpdateProfileResponse:
        self.calls += 1
        await context.abort(grpc.StatusCode.UNAVAILABLE, "not now")
        raise AssertionError("abort raises")

    async def Login(self, request: Any, context: Any) -> user_pb2.LoginResponse:
        return user_pb2.LoginResponse(account=user_pb2.Account(username=request.username))


class Conversation(conversation_pb2_grpc.ConversationServiceServicer):
    """Converse answers every ping with a pong; Subscribe sends pongs until it is cancelled."""

    def __init__(self, name: str = "") -> None:
        self.name = name
        self.live = 0
        self.leaving = False
        self.interval_seconds = 0.05

    async def Converse(self, request_iterator: Any, context: Any) -> None:
        while (request := await context.read()) is not grpc.aio.EOF:
            pong = conversation_pb2.Pong(nonce=request.ping.nonce)
            await context.write(conversation_pb2.ConverseResponse(seq=request.seq, pong=pong))

    async def Subscribe(self, request: Any, context: Any) -> None:
        if self.leaving:
            said = ((LEAVING_HEADER, "true"),)
            await context.abort(grpc.StatusCode.UNAVAILABLE, "leaving", said)
        self.live += 1
        try:
            for number in range(1, 2**31):
                pong = conversation_pb2.Pong(nonce=number)
                response = conversation_pb2.ConverseResponse(seq=number, pong=pong)
                await context.write(conversation_pb2.SubscribeResponse(response=response))
                await asyncio.sleep(self.interval_seconds)
        finally:
            self.live -= 1

    async def Push(self, request: Any, context: Any) -> conversation_pb2.PushResponse:
        await context.send_initial_metadata((("x-answered-by", self.name),))
        return conversation_pb2.PushResponse(last_seq=len(request.requests))

    async def ListScenarios(
        self, request: Any, context: Any
    ) -> conversation_pb2.ListScenariosResponse:
        return conversation_pb2.ListScenariosResponse()


class Ai(ai_pb2_grpc.AiServiceServicer):
    async def ListEngines(self, request: Any, context: Any) -> ai_pb2.ListEnginesResponse:
        return ai_pb2.ListEnginesResponse()

    async def Converse(self, request_iterator: Any, context: Any) -> None:
        raise AssertionError("the gateway let an internal call through")


class History(history_pb2_grpc.HistoryServiceServicer):
    async def ListConversations(
        self, request: Any, context: Any
    ) -> history_pb2.ListConversationsResponse:
        return history_pb2.ListConversationsResponse()

    async def Ingest(self, request: Any, context: Any) -> history_pb2.IngestResponse:
        raise AssertionError("the gateway let an internal call through")


class Media(media_pb2_grpc.MediaServiceServicer):
    async def Record(self, request_iterator: Any, context: Any) -> None:
        raise AssertionError("the gateway let an internal call through")


class Arrivals(grpc.aio.ServerInterceptor):
    """Notes every call that comes as far as a service, whether there is such a method or not."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str]] = []
        """The path of each, and its `authorization`."""

    async def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        metadata = dict(handler_call_details.invocation_metadata)
        self.seen.append((handler_call_details.method, metadata.get("authorization", "")))
        return await continuation(handler_call_details)


class Upstream:
    """One stand-in on one port, which can be taken down and brought back."""

    def __init__(self, servicer: Any, add_to_server: Any, port: int) -> None:
        self.servicer = servicer
        self.port = port
        self._add_to_server = add_to_server
        self._server: grpc.aio.Server | None = None
        self.arrivals = Arrivals()
        self.statuses = health.HealthServicer()

    async def start(self) -> None:
        options = [("grpc.max_receive_message_length", MAX_MESSAGE_BYTES), ("grpc.so_reuseport", 0)]
        self._server = grpc.aio.server(options=options, interceptors=(self.arrivals,))
        self._add_to_server(self.servicer, self._server)
        self.statuses = health.HealthServicer()
        await self.statuses.set("", health_pb2.HealthCheckResponse.SERVING)
        health_pb2_grpc.add_HealthServicer_to_server(self.statuses, self._server)
        self._server.add_insecure_port(f"127.0.0.1:{self.port}")
        await self._server.start()

    async def stop(self) -> None:
        if self._server is not None:
            await self._server.stop(0)
            self._server = None


class Wire:
    """The wire to an upstream, which can be cut as a killed process cuts it: without a word."""

    def __init__(self, port: int, target_port: int) -> None:
        self.port = port
        self._target_port = target_port
        self._writers: set[asyncio.StreamWriter] = set()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        server = await asyncio.start_server(self._join, "127.0.0.1", self.port)
        try:
            yield
        finally:
            server.close()
            self.cut()

    def cut(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
        except OSError:
            writer.transport.abort()
            return
        pair = {writer, far_writer}
        self._writers |= pair
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._copy(reader, far_writer))
                group.create_task(self._copy(far_reader, writer))
        finally:
            self._writers -= pair

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while block := await reader.read(65536):
                writer.write(block)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()


class JwksEndpoint:
    """What the user service serves on its metrics port."""

    def __init__(self, document: str) -> None:
        self.document = document

    @asynccontextmanager
    async def serve(self, port: int) -> AsyncIterator[None]:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                await reader.readuntil(b"\r\n\r\n")
                body = self.document.encode()
                head = (
                    f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
                )
                writer.write(head.encode() + body)
                await writer.drain()
            except (OSError, asyncio.IncompleteReadError):
                pass
            finally:
                writer.close()

        server = await asyncio.start_server(answer, "127.0.0.1", port)
        async with server:
            yield


SERVICERS: dict[str, tuple[type[Any], Any]] = {
    "user": (User, user_pb2_grpc.add_UserServiceServicer_to_server),
    "conversation": (
        Conversation,
        conversation_pb2_grpc.add_ConversationServiceServicer_to_server,
    ),
    "ai": (Ai, ai_pb2_grpc.add_AiServiceServicer_to_server),
    "history": (History, history_pb2_grpc.add_HistoryServiceServicer_to_server),
    "media": (Media, media_pb2_grpc.add_MediaServiceServicer_to_server),
}


@asynccontextmanager
async def upstreams(ports: Mapping[Service, int]) -> AsyncIterator[dict[str, Upstream]]:
    """Run a stand-in for every service."""
    async with AsyncExitStack() as stack:
        running: dict[str, Upstream] = {}
        for name, port in ports.items():
            servicer, add_to_server = SERVICERS[name]
            upstream = Upstream(servicer(), add_to_server, port)
            await upstream.start()
            stack.push_async_callback(upstream.stop)
            running[name] = upstream
        yield running


def grpc_web_frame(message: Message) -> bytes:
    """Frame a message as grpc-web does: a flag byte, the length, the bytes."""
    body = message.SerializeToString()
    return b"\x00" + len(body).to_bytes(4, "big") + body


def grpc_web_parts(body: bytes) -> tuple[list[bytes], dict[str, str]]:
    """Split a grpc-web response, or as much as has come of it, into its messages and trailers."""
    messages, trailers = [], {}
    while len(body) >= 5:
        flag, size = body[0], int.from_bytes(body[1:5], "big")
        if len(body) < 5 + size:
            break
        part, body = body[5 : 5 + size], body[5 + size :]
        if flag & 0x80:
            for line in part.decode().splitlines():
                key, _, value = line.partition(":")
                trailers[key.strip().lower()] = value.strip()
        else:
            messages.append(part)
    return messages, trailers
