"""What a call to another service carries, and what it does when that service is away."""

import asyncio
from pathlib import Path
from typing import Any

import grpc
import pytest

from parley.conversation.v1 import conversation_pb2 as conversation
from parley.conversation.v1.conversation_pb2_grpc import ConversationServiceStub
from parley.user.v1 import user_pb2 as user
from parley.user.v1.user_pb2_grpc import UserServiceStub
from services.common import call_context
from services.common.access import service, user_or_service
from services.common.call_context import Caller
from services.common.channel import Peers
from services.common.errors import DeadlineExceeded, NotFound, Unavailable
from services.common.service_identity import METADATA_KEY, ServiceSigner
from services.common.status import rpc_errors

LOGIN = user.LoginRequest(username="ada", password="x")


@pytest.fixture
def signer(settings: Any, echo: Any) -> ServiceSigner:
    return ServiceSigner.open("history", settings.keys_dir / "services", echo.clock)


async def test_a_call_carries_request_id_identity_token_and_the_time_left(echo, serve_echo, signer):
    seen: dict[str, Any] = {}

    async def note(request: Any, context: Any) -> Any:
        seen["service"] = call_context.calling_service()
        seen["caller"] = call_context.caller()
        seen["request_id"] = call_context.request_id()
        seen["left"] = call_context.remaining_seconds()
        return user.LoginResponse()

    echo.handle("Login", note, service("history"))
    token = echo.token()
    call_context.request_id_var.set("req-7")
    call_context.caller_var.set(Caller("u", "s", token))
    call_context.deadline_var.set(asyncio.get_running_loop().time() + 2)
    async with serve_echo() as (running, _), Peers.open({"echo": running.address}, signer) as peers:
        await UserServiceStub(peers.channel("echo")).Login(LOGIN)
    assert seen["service"] == "history"
    assert seen["caller"].token == token
    assert seen["request_id"] == "req-7"
    assert 0 < seen["left"] < 3


async def test_streams_carry_the_same_and_have_no_deadline_of_their_own(echo, serve_echo, signer):
    seen: dict[str, Any] = {}

    async def note(_: Any, context: Any) -> None:
        seen["service"] = call_context.calling_service()
        seen["left"] = call_context.remaining_seconds()
        async for message in context_messages(context):
            await context.write(conversation.ConverseResponse(seq=message.seq))

    echo.handle("Converse", note, user_or_service("history"))
    async with serve_echo() as (running, _), Peers.open({"echo": running.address}, signer) as peers:
        call: Any = ConversationServiceStub(peers.channel("echo")).Converse()
        await call.write(conversation.ConverseRequest(seq=1, ping=conversation.Ping(nonce=1)))
        assert (await call.read()).seq == 1
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF
    assert seen == {"service": "history", "left": None}


async def context_messages(context: Any) -> Any:
    while (message := await context.read()) is not grpc.aio.EOF:
        yield message


async def test_what_is_passed_by_hand_wins(echo, signer):
    peers = Peers({"echo": "127.0.0.1:1"}, signer)
    call_context.request_id_var.set("req-7")
    metadata = dict(peers.channel("echo").outgoing_metadata([("x-request-id", "mine")]))
    assert metadata["x-request-id"] == "mine"
    assert METADATA_KEY in metadata
    await peers.close()


async def test_a_unary_call_without_a_deadline_gets_the_peers_own(echo, serve_echo, signer):
    left: list[float | None] = []

    async def note(request: Any, context: Any) -> Any:
        left.append(call_context.remaining_seconds())
        return user.LoginResponse()

    echo.handle("Login", note)
    async with serve_echo() as (running, _), Peers.open({"echo": running.address}, signer) as peers:
        await UserServiceStub(peers.channel("echo")).Login(LOGIN)
    assert left[0] is not None
    assert 0 < left[0] < 6


async def test_a_dead_peer_is_typed_and_quick(signer):
    async with Peers.open({"echo": "127.0.0.1:1"}, signer) as peers:
        stub = UserServiceStub(peers.channel("echo"))
        with pytest.raises(Unavailable) as caught, rpc_errors("echo"):
            await asyncio.wait_for(stub.Login(LOGIN), 4)
    assert caught.value.reason == "PEER_UNAVAILABLE"
    assert caught.value.metadata == {"peer": "echo"}


async def test_a_slow_peer_is_a_deadline(echo, serve_echo, signer):
    async def hang(request: Any, context: Any) -> Any:
        await asyncio.Event().wait()

    echo.handle("Login", hang)
    async with serve_echo() as (running, _), Peers.open({"echo": running.address}, signer) as peers:
        with pytest.raises(DeadlineExceeded), rpc_errors("echo"):
            await UserServiceStub(peers.channel("echo")).Login(LOGIN, timeout=0.05)


async def test_a_peers_typed_error_comes_through(echo, serve_echo, signer):
    async def missing(request: Any, context: Any) -> Any:
        raise NotFound("Gone.", reason="USER_NOT_FOUND")

    echo.handle("Login", missing)
    async with serve_echo() as (running, _), Peers.open({"echo": running.address}, signer) as peers:
        with pytest.raises(NotFound) as caught, rpc_errors("echo"):
            await UserServiceStub(peers.channel("echo")).Login(LOGIN)
    assert caught.value.reason == "USER_NOT_FOUND"


async def test_only_idempotent_methods_are_tried_again(echo, serve_echo, signer):
    attempts = {"GetJwks": 0, "Login": 0}

    def failing(name: str) -> Any:
        async def fail_twice(request: Any, context: Any) -> Any:
            attempts[name] += 1
            if attempts[name] < 3:
                raise Unavailable("busy", reason="DATABASE_UNAVAILABLE")
            return user.GetJwksResponse()

        return fail_twice

    for name in attempts:
        echo.handle(name, failing(name))
    async with serve_echo() as (running, _), Peers.open({"echo": running.address}, signer) as peers:
        idempotent = ["parley.user.v1.UserService/GetJwks"]
        stub = UserServiceStub(peers.channel("echo", idempotent))
        await stub.GetJwks(user.GetJwksRequest())
        with pytest.raises(Unavailable), rpc_errors("echo"):
            await stub.Login(LOGIN)
    assert attempts == {"GetJwks": 3, "Login": 1}


def test_no_client_interceptor_stands_under_a_stream():
    """grpc.aio's client interceptors put a task and a queue under each message of a stream."""
    source = Path("services/common/channel.py").read_text("utf-8")
    assert "interceptors=" not in source
