"""Limits at the door: the gateway's places, a token's length, accounts and failures of an address.

The gateway's places are those of its calls to one service, and as many of WebSockets.
"""

from __future__ import annotations

from contextlib import AsyncExitStack
from unittest.mock import patch

import pytest
from websockets.exceptions import InvalidStatus

from parley.user.v1 import user_pb2
from services.common.errors import ParleyError
from services.common.ids import new_id
from tests.e2e.clients import answer
from tests.e2e.small_limits.elsewhere import (
    ELSEWHERE,
    FAILED,
    RIGHT,
    TOO_MANY,
    WRONG,
    account,
    address,
    login,
)
from tests.e2e.small_limits.places import FEW
from tests.e2e.small_limits.table import CALLED, USERS, small, tries, unrecorded
from tests.e2e.town import LOGIN_ATTEMPTS, REGISTRATIONS, Parley, Small

STREAMS = 3

NARROW = small("narrow", Small({}, edge={"max_streams": STREAMS}))


@tries(NARROW, "PARLEY_GATEWAY_MAX_STREAMS")
async def so_many_calls_of_learners_go_through_and_one_more_does_not(
    parley: Parley, client: str
) -> None:
    async with parley.caller() as one, parley.caller() as another, AsyncExitStack() as stack:
        for _ in range(STREAMS):
            await stack.enter_async_context(unrecorded(one, client))
        if client == "websocket":
            with pytest.raises(InvalidStatus) as refused:
                await stack.enter_async_context(unrecorded(another, client))
            assert refused.value.response.status_code == 503
        else:
            with pytest.raises(ParleyError) as caught:
                await stack.enter_async_context(unrecorded(another, client))
            assert caught.value.reason == "TOO_MANY_CALLS"
            assert caught.value.retryable


@tries(FEW, "max_token_characters")
async def a_token_has_so_many_characters_and_no_more(parley: Parley, client: str) -> None:
    """The limit is set about the token: no real one comes near it."""
    async with parley.caller() as one:
        # First the refusal: a token that was taken once is known.
        with (
            patch("services.common.auth._MAX_TOKEN_CHARACTERS", len(one.token) - 1),
            pytest.raises(ParleyError) as caught,
        ):
            async with unrecorded(one, client) as talk:
                await talk.until("ended")
        assert caught.value.reason == "TOKEN_INVALID"
        with patch("services.common.auth._MAX_TOKEN_CHARACTERS", len(one.token)):
            async with unrecorded(one, client) as talk:
                await talk.send(ping={"nonce": 1})
                await talk.until("pong")


@tries(ELSEWHERE, "PARLEY_USER_REGISTRATIONS_PER_HOUR", by=CALLED)
async def an_address_makes_so_many_accounts_and_no_more(parley: Parley, client: str) -> None:
    method = USERS.methods_by_name["Register"]
    async with parley.caller(**{"x-forwarded-for": address()}) as one:
        came = []
        for _ in range(REGISTRATIONS + 1):
            name = f"many-{new_id()[-12:]}"
            request = user_pb2.RegisterRequest(username=name, password=RIGHT)
            error = await answer(one, client, method, request)
            came.append(error.reason if error else "")
        assert came == [""] * REGISTRATIONS + [TOO_MANY]


@tries(ELSEWHERE, "PARLEY_USER_LOGIN_ATTEMPTS", by=CALLED)
async def so_many_guesses_at_a_name_from_an_address_and_one_more_waits(
    parley: Parley, client: str
) -> None:
    name = await account(parley)
    async with parley.caller(**{"x-forwarded-for": address()}) as one:
        came = [await login(one, client, name, WRONG) for _ in range(LOGIN_ATTEMPTS + 1)]
        assert came == [FAILED] * LOGIN_ATTEMPTS + [TOO_MANY]
