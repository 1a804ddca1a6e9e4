"""What the transport itself refuses, before any code of ours is asked."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import grpc
import grpc.aio
import pytest

from parley.user.v1 import user_pb2 as user
from parley.user.v1.user_pb2_grpc import UserServiceStub
from services.common.limits import DEFAULT_LIMITS

LOGIN = user.LoginRequest(username="ada", password="x")


async def test_n_calls_at_once_are_taken_and_one_more_is_told_so(echo, serve_echo):
    go_on, begun = asyncio.Event(), asyncio.Semaphore(0)

    async def wait(request: Any, context: Any) -> Any:
        begun.release()
        await go_on.wait()
        return user.LoginResponse()

    echo.handle("Login", wait)
    most = 3
    async with serve_echo(replace(DEFAULT_LIMITS, concurrent_calls=most)) as (_, channel):
        stub: Any = UserServiceStub(channel)
        held = [asyncio.ensure_future(stub.Login(LOGIN)) for _ in range(most)]
        for _ in held:
            await begun.acquire()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Login(LOGIN)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "Concurrent RPC limit exceeded" in (caught.value.details() or "")
        go_on.set()
        await asyncio.gather(*held)
        await stub.Login(LOGIN)


async def test_more_metadata_than_is_taken_is_refused_and_the_next_call_is_served(echo, serve_echo):
    """Half of it passes; of what lies above it gRPC refuses more and more, twice as much always."""

    async def answer(request: Any, context: Any) -> Any:
        return user.LoginResponse()

    echo.handle("Login", answer)
    limit = DEFAULT_LIMITS.max_metadata_bytes
    async with serve_echo() as (_, channel):
        stub: Any = UserServiceStub(channel)
        await stub.Login(LOGIN, metadata=(("x-a", "a" * (limit // 2)),))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Login(LOGIN, metadata=(("x-a", "a" * (2 * limit)),))
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        await stub.Login(LOGIN)
