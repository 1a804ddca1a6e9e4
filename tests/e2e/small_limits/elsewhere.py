"""Limits of clients on other machines: calls and sign-ins of an account, an address, a name."""

from __future__ import annotations

from contextlib import AsyncExitStack, suppress

import grpc.aio
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from parley.conversation.v1 import conversation_pb2
from parley.user.v1 import user_pb2
from parley.user.v1.user_pb2_grpc import UserServiceStub
from services.common.errors import ParleyError
from services.common.ids import new_id
from services.common.limits import DEFAULT_LIMITS
from tests.e2e.caller import BOUND_S, Caller
from tests.e2e.clients import answer
from tests.e2e.small_limits.table import (
    CALLED,
    TALKS,
    USERS,
    ends_with,
    small,
    tries,
    unrecorded,
)
from tests.e2e.town import LOGIN_ATTEMPTS, Parley, Small
from tests.e2e.web_talk import WebSocketTalk

OF_ACCOUNT, OF_ADDRESS, TOGETHER = 20, 10, 2

ELSEWHERE = small(
    "elsewhere",
    Small(
        {
            # So slow that none comes back while a test runs.
            "calls_per_address_per_second": OF_ADDRESS / 1_000,
            "calls_per_user_per_second": OF_ACCOUNT / 1_000,
            "call_burst_seconds": 1_000,
        },
        from_elsewhere=True,
    ),
)
AT_ONCE = small("at once", Small({"concurrent_calls_per_user": TOGETHER}, from_elsewhere=True))

LIST_SCENARIOS = conversation_pb2.ListScenariosRequest()
NOBODY = iter(range(1, 60_000))


def address() -> str:
    """Return an address from which nobody came yet."""
    number = next(NOBODY)
    return f"198.18.{number // 256}.{number % 256}"


async def knocks(one: Caller, client: str) -> str:
    """Come once; return the reason of the refusal, if that is what came of it."""
    if client != "websocket":
        method, request = TALKS.methods_by_name["ListScenarios"], LIST_SCENARIOS
        error = await answer(one, client, method, request)
        return error.reason if error else ""
    try:
        async with WebSocketTalk(one) as talk:
            await talk.handshake()
            # Whatever is wrong with what it says, it was let in.
            assert talk.socket is not None
            with suppress(ConnectionClosed):
                await talk.socket.send("no message")
            reason = await ends_with(talk)
            return "" if reason == "MALFORMED_MESSAGE" else reason
    except InvalidStatus as refused:
        return {429: "CALLS_TOO_FAST"}[refused.response.status_code]


@tries(ELSEWHERE, "calls_per_address_per_second", "call_burst_seconds")
async def so_many_calls_come_from_an_address_and_one_more_does_not(
    parley: Parley, client: str
) -> None:
    async with parley.caller(**{"x-forwarded-for": address()}) as one:
        came = [await knocks(one, client) for _ in range(OF_ADDRESS + 1)]
        assert came == [""] * OF_ADDRESS + ["CALLS_TOO_FAST"]
        one.besides["x-forwarded-for"] = address()
        assert await knocks(one, client) == ""


@tries(ELSEWHERE, "calls_per_user_per_second")
async def so_many_calls_come_of_an_account_and_one_more_does_not(
    parley: Parley, client: str
) -> None:
    async with parley.caller() as one, parley.caller() as another:
        came = []
        for _ in range(OF_ACCOUNT + 1):
            one.besides["x-forwarded-for"] = another.besides["x-forwarded-for"] = address()
            came.append(await knocks(one, client))
        assert came == [""] * OF_ACCOUNT + ["CALLS_TOO_FAST"]
        assert await knocks(another, client) == ""


LOGIN = USERS.methods_by_name["Login"]
WRONG, RIGHT = "not the words", "three odd words"
FAILED, TOO_MANY = "BAD_CREDENTIALS", "TOO_MANY_ATTEMPTS"


async def login(one: Caller, client: str, name: str, password: str) -> str:
    """Try to sign in; return the reason of the refusal, if that is what comes of it."""
    request = user_pb2.LoginRequest(username=name, password=password)
    error = await answer(one, client, LOGIN, request)
    return error.reason if error else ""


async def account(parley: Parley) -> str:
    """Make an account at the service itself; return its name."""
    name = f"many-{new_id()[-12:]}"
    async with grpc.aio.insecure_channel(parley.town.addresses["user"]) as channel:
        request = user_pb2.RegisterRequest(username=name, password=RIGHT)
        await UserServiceStub(channel).Register(request, timeout=BOUND_S)
    return name


@tries(ELSEWHERE, "login_name_factor", by=CALLED)
async def so_many_guesses_at_a_name_from_anywhere_and_one_more_waits(
    parley: Parley, client: str
) -> None:
    most, name = LOGIN_ATTEMPTS * DEFAULT_LIMITS.login_name_factor, await account(parley)
    async with parley.caller() as one:
        came = []
        for _ in range(most + 1):
            one.besides["x-forwarded-for"] = address()
            came.append(await login(one, client, name, WRONG))
        assert came == [FAILED] * most + [TOO_MANY]


@tries(ELSEWHERE, "login_address_factor", by=CALLED)
async def so_many_guesses_from_an_address_and_one_more_waits(parley: Parley, client: str) -> None:
    most = LOGIN_ATTEMPTS * DEFAULT_LIMITS.login_address_factor
    async with parley.caller(**{"x-forwarded-for": address()}) as one:
        came = [await login(one, client, f"nobody-{new_id()[-12:]}", WRONG) for _ in range(most)]
        assert came == [FAILED] * most
        assert await login(one, client, await account(parley), RIGHT) == TOO_MANY


@tries(ELSEWHERE, "login_tries_factor", "login_address_tries_factor", by=CALLED)
async def so_many_sign_ins_and_one_more_waits(parley: Parley, client: str) -> None:
    of_name = LOGIN_ATTEMPTS * DEFAULT_LIMITS.login_tries_factor
    in_all = LOGIN_ATTEMPTS * DEFAULT_LIMITS.login_address_tries_factor
    async with parley.caller(**{"x-forwarded-for": address()}) as one:
        for _ in range(in_all // of_name):
            name = await account(parley)
            came = [await login(one, client, name, RIGHT) for _ in range(of_name)]
            assert came == [""] * of_name
        assert await login(one, client, await account(parley), RIGHT) == TOO_MANY
        one.besides["x-forwarded-for"] = address()
        name = await account(parley)
        came = [await login(one, client, name, RIGHT) for _ in range(of_name + 1)]
        assert came == [""] * of_name + [TOO_MANY]


@tries(AT_ONCE, "concurrent_calls_per_user")
async def so_many_calls_of_an_account_go_on_and_one_more_does_not(
    parley: Parley, client: str
) -> None:
    async with parley.caller(**{"x-forwarded-for": address()}) as one, AsyncExitStack() as stack:
        for _ in range(TOGETHER):
            await stack.enter_async_context(unrecorded(one, client))
        with pytest.raises(ParleyError) as caught:
            await stack.enter_async_context(unrecorded(one, client))
        assert caught.value.reason == "TOO_MANY_CALLS"
