"""Whoever is signed out is out: a live conversation ends within 5 s, on every way out."""

from __future__ import annotations

import time
from typing import Any

import grpc
import grpc.aio
import jwt
import pytest

from parley.conversation.v1 import conversation_pb2
from parley.user.v1 import user_pb2
from services.common.status import from_rpc_error
from tests.e2e.caller import BOUND_S, Caller
from tests.stack import Stack

PASSWORD = "three odd words"


async def sign_in(one: Caller, username: str) -> user_pb2.TokenPair:
    request = user_pb2.LoginRequest(username=username, password=PASSWORD)
    tokens: user_pb2.TokenPair = (await one.user.Login(request, timeout=BOUND_S)).tokens
    return tokens


def session_id(tokens: user_pb2.TokenPair) -> str:
    return str(jwt.decode(tokens.access_token, options={"verify_signature": False})["sid"])


def bearer(tokens: user_pb2.TokenPair) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {tokens.access_token}"),)


async def talk(one: Caller, tokens: user_pb2.TokenPair) -> Any:
    """Begin a conversation that goes on until something ends it."""
    call: Any = one.conversation.Converse(metadata=bearer(tokens), timeout=BOUND_S)
    start = conversation_pb2.StartSession()
    await call.write(conversation_pb2.ConverseRequest(seq=1, start=start))
    assert (await call.read()).HasField("started")
    return call


async def end_of(call: Any) -> tuple[grpc.StatusCode, str]:
    try:
        while await call.read() is not grpc.aio.EOF:
            pass
    except grpc.aio.AioRpcError as error:
        return error.code(), from_rpc_error(error).reason
    return grpc.StatusCode.OK, ""


async def leave(one: Caller, how: str, own: user_pb2.TokenPair, other: user_pb2.TokenPair) -> None:
    match how:
        case "logout":
            await one.user.Logout(
                user_pb2.LogoutRequest(refresh_token=own.refresh_token), timeout=BOUND_S
            )
        case "revoke":
            request = user_pb2.RevokeSessionRequest(session_id=session_id(own))
            await one.user.RevokeSession(request, metadata=bearer(other), timeout=BOUND_S)
        case "password":
            change = user_pb2.ChangePasswordRequest(
                old_password=PASSWORD, new_password="four quite odd words"
            )
            await one.user.ChangePassword(change, metadata=bearer(other), timeout=BOUND_S)
        case "delete":
            await one.user.DeleteAccount(
                user_pb2.DeleteAccountRequest(password=PASSWORD),
                metadata=bearer(other),
                timeout=BOUND_S,
            )


@pytest.mark.parametrize("how", ["logout", "revoke", "password", "delete"])
async def test_a_live_conversation_ends_within_5_s_of_its_sign_in(scripted_stack: Stack, how: str):
    one = Caller(scripted_stack.address)
    username = f"leaver-{time.time_ns()}"
    request = user_pb2.RegisterRequest(username=username, password=PASSWORD)
    other = (await one.user.Register(request, timeout=BOUND_S)).tokens
    own = await sign_in(one, username)
    call, another = await talk(one, own), await talk(one, other)
    await leave(one, how, own, other)
    since = time.monotonic()
    code, reason = await end_of(call)
    assert time.monotonic() - since < 5.0
    assert reason in {"SESSION_ENDED", "USER_NOT_FOUND"}
    assert code in {grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.NOT_FOUND}
    if how != "delete":
        # The other device's conversation goes on.
        ping = conversation_pb2.ConverseRequest(seq=2, ping=conversation_pb2.Ping())
        await another.write(ping)
        assert (await another.read()).HasField("pong")
        another.cancel()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await end_of_start(one, own)
    assert from_rpc_error(caught.value).reason in {"SESSION_ENDED", "USER_NOT_FOUND"}
    await one.channel.close()


async def end_of_start(one: Caller, tokens: user_pb2.TokenPair) -> None:
    """Try to begin another with an access token that is still valid by itself."""
    call = await talk(one, tokens)
    call.cancel()
