"""What the transport itself refuses, before any code of ours is asked."""

from __future__ import annotations

import asyncio
import re
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


async def test_so_much_metadata_is_taken_and_a_byte_more_is_not(echo, serve_echo):
    """Between the bound and a quarter more it was refused at random."""

    async def answer(request: Any, context: Any) -> Any:
        return user.LoginResponse()

    echo.handle("Login", answer)
    limit = DEFAULT_LIMITS.max_metadata_bytes
    async with serve_echo() as (_, channel):
        stub: Any = UserServiceStub(channel)

        async def refusal(size: int) -> str:
            try:
                await stub.Login(LOGIN, metadata=(("x-a", "a" * size),))
            except grpc.aio.AioRpcError as error:
                return f"{error.code().name}: {error.details()}"
            return ""

        # What gRPC itself sends along, some 500 bytes, counts as well; it says how much all was.
        told = re.search(r"limit \((\d+) vs", await refusal(limit - 300))
        assert told is not None
        beside = int(told[1]) - (limit - 300)
        for _ in range(10):
            assert await refusal(limit - beside) == ""
            assert (await refusal(limit - beside + 1)).startswith("RESOURCE_EXHAUSTED")
