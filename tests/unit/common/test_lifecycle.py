"""Start, readiness, draining and stopping of a real server."""

import asyncio
import socket
from contextlib import suppress
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from parley.conversation.v1 import conversation_pb2 as conversation
from parley.conversation.v1.conversation_pb2_grpc import ConversationServiceStub
from parley.user.v1 import user_pb2 as user
from parley.user.v1.user_pb2_grpc import UserServiceStub
from services.common.grpc_server import PortTakenError
from services.common.ids import new_id
from services.common.interceptors.gate import LEAVING_KEY
from services.common.lifecycle import BackgroundEndedError, serve
from services.common.status import from_rpc_error

SERVICE = "parley.user.v1.UserService"
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
LOGIN = user.LoginRequest(username="ada", password="x")


async def health(channel: grpc.aio.Channel, service: str = SERVICE) -> Any:
    stub: Any = health_pb2_grpc.HealthStub(channel)
    return (await stub.Check(health_pb2.HealthCheckRequest(service=service))).status


async def reason(call: Any) -> str:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return from_rpc_error(caught.value).reason


async def until_draining(service: Any) -> None:
    await service.runtime.draining.wait()


async def hold(_: Any, context: Any) -> None:
    """Answer one message, then stay until the client finishes."""
    while (message := await context.read()) is not grpc.aio.EOF:
        await context.write(conversation.ConverseResponse(seq=message.seq))


def ping(seq: int) -> conversation.ConverseRequest:
    return conversation.ConverseRequest(seq=seq, ping=conversation.Ping(nonce=1))


async def test_until_warm_the_service_is_up_but_not_serving(echo, settings):
    warm = asyncio.Event()

    async def warm_up() -> None:
        await warm.wait()

    async def hello(request: Any, context: Any) -> Any:
        return user.LoginResponse()

    echo.warm_up = warm_up
    echo.handle("Login", hello)
    async with (
        serve("echo", settings, echo.bootstrap, clock=echo.clock) as service,
        grpc.aio.insecure_channel(service.address) as channel,
    ):
        run = asyncio.create_task(service.run_until_stopped())
        stub = UserServiceStub(channel)
        assert await health(channel) == NOT_SERVING
        assert await health(channel, "") == NOT_SERVING
        assert await reason(stub.Login(LOGIN)) == "SERVICE_STARTING"
        warm.set()
        await service.ready.wait()
        assert await health(channel) == SERVING
        assert await health(channel, "") == SERVING
        await stub.Login(LOGIN)
        service.stop()
        await run


async def test_a_failed_warm_up_takes_the_service_down(echo, settings):
    async def warm_up() -> None:
        raise ValueError("no model")

    echo.warm_up = warm_up
    async with serve("echo", settings, echo.bootstrap) as service:
        with pytest.raises(ExceptionGroup) as caught:
            await service.run_until_stopped()
    assert caught.group_contains(ValueError)


@pytest.mark.parametrize(
    ("how", "told"),
    [
        (ValueError("relay broke"), ValueError),
        (None, BackgroundEndedError),
        # As when it waits for a task of its own that was cancelled.
        (asyncio.CancelledError(), BackgroundEndedError),
    ],
    ids=["crashed", "returned", "cancelled"],
)
async def test_a_background_task_that_ends_takes_the_service_down(echo, settings, how, told):
    async def background() -> None:
        if how is not None:
            raise how

    echo.background = (background,)
    async with serve("echo", settings, echo.bootstrap) as service:
        with pytest.raises(ExceptionGroup) as caught:
            await asyncio.wait_for(service.run_until_stopped(), 10)
    assert caught.group_contains(told)


async def test_draining_tells_health_and_handlers_and_waits_for_live_streams(echo, serve_echo):
    echo.handle("Converse", hold)
    async with serve_echo() as (service, channel):
        call = ConversationServiceStub(channel).Converse()
        await call.write(ping(1))
        await call.read()
        service.stop()
        await until_draining(service)
        assert await health(channel) == NOT_SERVING
        # The live stream goes on, and its end ends the service.
        await call.write(ping(2))
        assert (await call.read()).seq == 2
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF
        assert await call.code() is grpc.StatusCode.OK


async def test_the_end_of_the_last_stream_ends_the_drain(echo, settings):
    echo.handle("Converse", hold)
    patient = settings.model_copy(update={"drain_seconds": 3600.0})
    async with (
        serve("echo", patient, echo.bootstrap) as service,
        grpc.aio.insecure_channel(service.address) as channel,
    ):
        run = asyncio.create_task(service.run_until_stopped())
        await service.ready.wait()
        calls = [ConversationServiceStub(channel).Converse() for _ in range(2)]
        for call in calls:
            await call.write(ping(1))
            await call.read()
        service.stop()
        await until_draining(service)
        await calls[0].done_writing()
        assert await calls[0].code() is grpc.StatusCode.OK
        assert not run.done()
        await calls[1].done_writing()
        await asyncio.wait_for(run, 5)
        assert await calls[1].code() is grpc.StatusCode.OK


async def test_a_method_that_live_streams_need_still_passes_while_draining(echo, serve_echo):
    async def pushed(request: Any, context: Any) -> Any:
        return conversation.PushResponse()

    echo.handle("Converse", hold)
    echo.handle("Push", pushed)
    echo.while_draining = ("Push",)
    async with serve_echo() as (service, channel):
        talks = ConversationServiceStub(channel)
        call = talks.Converse()
        await call.write(ping(1))
        await call.read()
        service.stop()
        await until_draining(service)
        push = conversation.PushRequest(conversation_id=new_id(), requests=[ping(2)])
        await talks.Push(push)
        await call.done_writing()


async def test_new_calls_are_refused_while_draining(echo, serve_echo):
    echo.handle("Converse", hold)
    async with serve_echo() as (service, channel):
        call = ConversationServiceStub(channel).Converse()
        await call.write(ping(1))
        await call.read()
        service.stop()
        await until_draining(service)
        refused = UserServiceStub(channel).Login(LOGIN)
        assert await reason(refused) == "SERVICE_STOPPING"
        # The gateway asks another process, and sends this one nothing new.
        assert dict(await refused.trailing_metadata())[LEAVING_KEY] == "true"
        await call.done_writing()


async def test_the_drain_ends_after_its_time(echo, settings):
    hurried = settings.model_copy(update={"drain_seconds": 0.05})
    echo.handle("Converse", hold)
    async with (
        serve("echo", hurried, echo.bootstrap) as service,
        grpc.aio.insecure_channel(service.address) as channel,
    ):
        run = asyncio.create_task(service.run_until_stopped())
        await service.ready.wait()
        call = ConversationServiceStub(channel).Converse()
        await call.write(ping(1))
        await call.read()
        service.stop()
        await run
        with suppress(grpc.aio.AioRpcError, asyncio.CancelledError):
            await call.read()
        assert await call.code() is not grpc.StatusCode.OK


async def test_a_second_stop_does_not_wait(echo, serve_echo):
    echo.handle("Converse", hold)
    async with serve_echo() as (service, channel):
        call = ConversationServiceStub(channel).Converse()
        await call.write(ping(1))
        await call.read()
        service.stop()
        await until_draining(service)
        # Leaving the block stops a second time; the stream is never finished by its client.


async def test_a_health_watcher_does_not_hold_up_the_end(echo, serve_echo):
    async with serve_echo() as (service, channel):
        request = health_pb2.HealthCheckRequest(service=SERVICE)
        stub: Any = health_pb2_grpc.HealthStub(channel)
        watch = stub.Watch(request)
        assert (await watch.read()).status == SERVING
        service.stop()
        assert (await watch.read()).status == NOT_SERVING


async def test_reflection_lists_the_services(echo, serve_echo):
    async with serve_echo() as (_, channel):
        stub: Any = reflection_pb2_grpc.ServerReflectionStub(channel)
        requests = iter([reflection_pb2.ServerReflectionRequest(list_services="")])
        answers = [answer async for answer in stub.ServerReflectionInfo(requests)]
    names = {each.name for each in answers[0].list_services_response.service}
    assert {SERVICE, "grpc.health.v1.Health"} <= names


@pytest.mark.parametrize(
    ("field", "variable"),
    [("port", "PARLEY_ECHO_PORT"), ("metrics_port", "PARLEY_ECHO_METRICS_PORT")],
)
async def test_a_taken_port_is_named_with_its_setting(echo, settings, field, variable):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(PortTakenError, match=rf"{port}.*{variable}"):
            async with serve("echo", settings.model_copy(update={field: port}), echo.bootstrap):
                pass


async def test_metrics_are_served_over_http(echo, serve_echo):
    async with serve_echo() as (service, _):
        reader, writer = await asyncio.open_connection("127.0.0.1", service.metrics_port)
        writer.write(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert b'parley_service{name="echo"} 1.0' in answer


async def test_the_metrics_port_answers_nothing_else(echo, serve_echo):
    async with serve_echo() as (service, _):
        reader, writer = await asyncio.open_connection("127.0.0.1", service.metrics_port)
        writer.write(b"GET /etc/passwd HTTP/1.1\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 404")
        writer.close()
        await writer.wait_closed()
