"""The user service through the gateway, native and grpc-web: one of each class of call."""

from __future__ import annotations

import asyncio
import io
import time
import zipfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, cast

import grpc
import grpc.aio
import httpx
import jwt
import pytest
from google.protobuf.message import Message
from websockets import ConnectionClosed, Subprotocol
from websockets.asyncio.client import connect

from parley.user.v1 import user_pb2 as pb
from services.common.key_files import load_or_create_private_key
from services.common.status import from_rpc_error
from tests.e2e import grpc_web
from tests.e2e.caller import BOUND_S
from tests.forged_tokens import Genuine, forgeries
from tests.stack import Stack

SERVICE = "/parley.user.v1.UserService"
PASSWORD = "three odd words"


@dataclass
class Way:
    """One way to the gateway: what a call answers with, or the reason that it fails with."""

    name: str
    channel: grpc.aio.Channel
    web: httpx.AsyncClient

    async def call(self, method: str, request: Message, token: str = "") -> Message | str:
        """Call a method of the user service; return its answer or the reason of its failure."""
        descriptor = pb.DESCRIPTOR.services_by_name["UserService"].methods_by_name[method]
        answer_type = getattr(pb, descriptor.output_type.name)
        metadata = {"authorization": f"Bearer {token}"} if token else {}
        if self.name == "grpc-web":
            answer = await grpc_web.call(self.web, f"{SERVICE}/{method}", request, metadata)
            if answer.code:
                return answer.reason or f"status {answer.code}"
            return answer.one(answer_type)
        call: Any = self.channel.unary_unary(
            f"{SERVICE}/{method}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=answer_type.FromString,
        )
        try:
            return cast(
                "Message", await call(request, metadata=tuple(metadata.items()), timeout=BOUND_S)
            )
        except grpc.aio.AioRpcError as error:
            return from_rpc_error(error).reason or f"status {error.code()}"

    async def register(self) -> pb.RegisterResponse:
        request = pb.RegisterRequest(username=f"edge-{time.time_ns()}", password=PASSWORD)
        answer = await self.call("Register", request)
        assert isinstance(answer, pb.RegisterResponse), answer
        return answer


@pytest.fixture(params=["native", "grpc-web"])
async def way(request: Any, scripted_stack: Stack) -> AsyncIterator[Way]:
    url = f"http://{scripted_stack.address}"
    async with (
        grpc.aio.insecure_channel(scripted_stack.address) as channel,
        httpx.AsyncClient(base_url=url, timeout=BOUND_S) as web,
    ):
        yield Way(request.param, channel, web)


async def test_what_is_for_anybody_succeeds_and_fails_with_its_reason(way: Way):
    made = await way.register()
    name = made.account.username
    login = pb.LoginRequest(username=name, password=PASSWORD)
    assert isinstance(await way.call("Login", login), pb.LoginResponse)
    wrong = pb.LoginRequest(username=name, password="not this one")
    assert await way.call("Login", wrong) == "BAD_CREDENTIALS"
    again = pb.RegisterRequest(username=name, password=PASSWORD)
    assert await way.call("Register", again) == "USERNAME_TAKEN"
    common = pb.RegisterRequest(username=f"{name}2", password="password1")
    assert await way.call("Register", common) == "PASSWORD_TOO_COMMON"
    assert await way.call("Register", pb.RegisterRequest(username="x")) == "INVALID_REQUEST"
    unknown = pb.RefreshRequest(refresh_token="unknown")
    assert await way.call("Refresh", unknown) == "REFRESH_TOKEN_INVALID"
    assert isinstance(await way.call("GetJwks", pb.GetJwksRequest()), pb.GetJwksResponse)


async def test_what_is_the_learners_succeeds_and_fails_with_its_reason(way: Way):
    tokens = (await way.register()).tokens
    get = pb.GetProfileRequest()
    assert isinstance(await way.call("GetProfile", get, tokens.access_token), pb.GetProfileResponse)
    assert await way.call("GetProfile", get) == "TOKEN_MISSING"
    update = pb.UpdateProfileRequest(account=pb.Account(voice="x"))
    update.update_mask.paths.append("username")
    assert await way.call("UpdateProfile", update, tokens.access_token) == "PROFILE_FIELD_UNKNOWN"
    logout = pb.LogoutRequest(refresh_token=tokens.refresh_token)
    assert isinstance(await way.call("Logout", logout), pb.LogoutResponse)
    assert await way.call("GetProfile", get, tokens.access_token) == "SESSION_ENDED"


async def test_what_is_between_services_does_not_exist(way: Way):
    tokens = (await way.register()).tokens
    answer = await way.call("FindEndedSessions", pb.FindEndedSessionsRequest(), tokens.access_token)
    assert answer == "NOT_IMPLEMENTED"


async def test_the_export_streams_through(way: Way):
    tokens = (await way.register()).tokens
    request = pb.ExportDataRequest()
    if way.name == "grpc-web":
        metadata = {"authorization": f"Bearer {tokens.access_token}"}
        answer = await grpc_web.call(way.web, f"{SERVICE}/ExportData", request, metadata)
        assert answer.code == 0
        pieces = [pb.ExportDataResponse.FromString(each) for each in answer.messages]
    else:
        stream: Any = way.channel.unary_stream(
            f"{SERVICE}/ExportData",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=pb.ExportDataResponse.FromString,
        )(request, metadata=(("authorization", f"Bearer {tokens.access_token}"),), timeout=BOUND_S)
        pieces = [each async for each in stream]
    archive = zipfile.ZipFile(io.BytesIO(b"".join(each.chunk for each in pieces)))
    assert archive.testzip() is None
    assert pieces[-1].progress == 1.0


async def genuine_of(way: Way, stack: Stack) -> Genuine:
    """Sign in; return the token with the key that signed it."""
    token = (await way.register()).tokens.access_token
    return Genuine(
        load_or_create_private_key(stack.folder.root / "keys" / "access" / "current.pem"),
        jwt.get_unverified_header(token),
        jwt.decode(token, options={"verify_signature": False}),
        int(time.time()),
    )


@pytest.mark.parametrize("way", ["native"], indirect=True)
async def test_no_forged_token_opens_a_websocket(way: Way, scripted_stack: Stack):
    """The gateway lets handshakes through, for pages cannot set its header: the service judges."""

    async def closed_with(token: str) -> str:
        async with connect(
            f"ws://{scripted_stack.address}/ws",
            subprotocols=[Subprotocol("parley.v1")],
            additional_headers={"Authorization": f"Bearer {token}"},
        ) as socket:
            try:
                async with asyncio.timeout(BOUND_S):
                    while True:
                        await socket.recv()
            except ConnectionClosed as closed:
                return closed.rcvd.reason if closed.rcvd else ""

    genuine = await genuine_of(way, scripted_stack)
    forged = dict(forgeries(genuine))
    # At once: the gateway gives each a second to close.
    reasons = await asyncio.gather(*map(closed_with, forged.values()))
    refused = {"TOKEN_INVALID", "TOKEN_EXPIRED"}
    answers = zip(forged, reasons, strict=True)
    assert {name: each for name, each in answers if each not in refused} == {}


async def test_no_forged_token_passes(way: Way, scripted_stack: Stack):
    genuine = await genuine_of(way, scripted_stack)
    request = pb.GetProfileRequest()
    assert isinstance(await way.call("GetProfile", request, genuine.token), pb.GetProfileResponse)
    answers = {
        name: await way.call("GetProfile", request, forged) for name, forged in forgeries(genuine)
    }
    refused = {"TOKEN_INVALID", "TOKEN_EXPIRED"}
    assert {name: each for name, each in answers.items() if each not in refused} == {}


@pytest.mark.parametrize("size", [20_000, 200_000])
async def test_a_huge_token_is_refused_and_not_by_accident(way: Way, size: int):
    answer = await way.call("GetProfile", pb.GetProfileRequest(), "x" * size)
    assert isinstance(answer, str)
    assert "INTERNAL" not in answer
    assert answer != "status 13"


@pytest.mark.parametrize("way", ["grpc-web"], indirect=True)
async def test_a_page_keeps_its_refresh_token_in_a_cookie_that_scripts_cannot_read(way: Way):
    name = (await way.register()).account.username
    page = {"x-parley-client": "web"}
    request = pb.LoginRequest(username=name, password=PASSWORD)
    answer = await grpc_web.call(way.web, f"{SERVICE}/Login", request, page)
    assert answer.one(pb.LoginResponse).tokens.refresh_token == ""
    assert {"HttpOnly", "SameSite=Strict"} <= set(answer.headers["set-cookie"].split("; "))
    renewed = await grpc_web.call(way.web, f"{SERVICE}/Refresh", pb.RefreshRequest(), page)
    assert renewed.one(pb.RefreshResponse).tokens.access_token
    # The page of another site can make the browser send the cookie, but not the header.
    other = await grpc_web.call(way.web, f"{SERVICE}/Refresh", pb.RefreshRequest())
    assert other.reason == "REFRESH_TOKEN_INVALID"
