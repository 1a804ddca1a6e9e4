"""Limits of places: talks, calls and sign-ins at once."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, suppress
from typing import Any

import grpc.aio
import httpx
import pytest
from websockets.exceptions import InvalidStatus

from parley.user.v1 import user_pb2
from services.common.codes import Code
from services.common.errors import ParleyError
from services.common.ids import new_id
from tests.e2e import grpc_web
from tests.e2e.caller import BOUND_S
from tests.e2e.clients import answer
from tests.e2e.small_limits.table import CALLED, USERS, small, tries, unrecorded
from tests.e2e.town import SESSIONS, Parley, Small

CALLS = 3
LIVE = 2

PLACES = small("places", Small({"concurrent_calls": CALLS, "conversations_per_user": 2 * CALLS}))
FEW = small("few", Small({}, {"max_sessions": LIVE}))


@tries(FEW, "PARLEY_CONVERSATION_MAX_SESSIONS")
async def so_many_talk_at_once_and_one_more_does_not(parley: Parley, client: str) -> None:
    async with AsyncExitStack() as stack:
        held = 0
        async with asyncio.timeout(BOUND_S):
            while held < LIVE:
                one = await stack.enter_async_context(parley.caller())
                # A talk that has just ended keeps its place for a moment.
                with suppress(ParleyError):
                    await stack.enter_async_context(unrecorded(one, client))
                    held += 1
        one = await stack.enter_async_context(parley.caller())
        with pytest.raises(ParleyError) as caught:
            await stack.enter_async_context(unrecorded(one, client))
        assert caught.value.reason == "AT_CAPACITY"
        assert caught.value.retryable


@tries(PLACES, "concurrent_calls")
async def so_many_calls_go_on_at_once_and_one_more_does_not(parley: Parley, client: str) -> None:
    async with parley.caller() as one, AsyncExitStack() as stack:
        held = 0
        async with asyncio.timeout(BOUND_S):
            while held < CALLS:
                # The gateway's question after the service's health has a place for a moment.
                with suppress(ParleyError):
                    await stack.enter_async_context(unrecorded(one, client))
                    held += 1
        if client == "websocket":
            with pytest.raises(InvalidStatus) as refused:
                await stack.enter_async_context(unrecorded(one, client))
            assert refused.value.response.status_code == 503
        else:
            with pytest.raises(ParleyError) as caught:
                await stack.enter_async_context(unrecorded(one, client))
            assert caught.value.code is Code.RESOURCE_EXHAUSTED
            said = f"{caught.value.reason} {caught.value.message}"
            assert "TOO_MANY_CALLS" in said or "Concurrent RPC limit exceeded" in said


@tries(FEW, "sessions_per_user", by=CALLED)
async def an_account_has_so_many_sessions_and_one_more_ends_the_first(
    parley: Parley, client: str
) -> None:
    login = {"username": f"many-{new_id()[-12:]}", "password": "three odd words"}

    async def signed_in(method: str, kind: Any) -> str:
        """Register or sign in; return the access token."""
        request = getattr(user_pb2, f"{method}Request")(**login)
        path = f"/{USERS.full_name}/{method}"
        if client == "grpc-web":
            url = f"http://{parley.address}"
            async with httpx.AsyncClient(base_url=url, timeout=BOUND_S) as web:
                return str((await grpc_web.call(web, path, request)).one(kind).tokens.access_token)
        async with grpc.aio.insecure_channel(parley.address) as channel:
            build: Any = channel.unary_unary(path, type(request).SerializeToString, kind.FromString)
            return str((await build(request, timeout=BOUND_S)).tokens.access_token)

    async with parley.caller() as one:
        one.token = await signed_in("Register", user_pb2.RegisterResponse)
        for _ in range(SESSIONS - 1):
            await signed_in("Login", user_pb2.LoginResponse)
        listing = USERS.methods_by_name["ListSessions"]
        assert await answer(one, client, listing, user_pb2.ListSessionsRequest()) is None
        await signed_in("Login", user_pb2.LoginResponse)
        error = await answer(one, client, listing, user_pb2.ListSessionsRequest())
        assert error is not None
        assert error.reason == "SESSION_ENDED"
