"""grpc-web through a real Envoy, as a browser speaks it: bytes framed by hand over HTTP/1.1."""

from __future__ import annotations

import asyncio
import base64
import json
from pathlib import Path

import httpx
import pytest
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status

from gateway.settings import GatewaySettings
from parley.conversation.v1 import conversation_pb2
from parley.history.v1 import history_pb2
from parley.user.v1 import user_pb2
from tests.integration.gateway.conftest import Edge, envoy, ready
from tests.integration.gateway.upstreams import grpc_web_frame, grpc_web_parts
from tests.ports import free_ports
from tests.sockets import free_socket

pytestmark = pytest.mark.asyncio(loop_scope="package")

BINARY = "application/grpc-web+proto"
TEXT = "application/grpc-web-text"
USER = "/parley.user.v1.UserService"
CONVERSATION = "/parley.conversation.v1.ConversationService"
ORIGIN = {"origin": "https://learn.example"}


def headers(edge: Edge, content_type: str = BINARY, *, token: bool = True) -> dict[str, str]:
    sent = {"content-type": content_type, "x-grpc-web": "1", "accept": content_type}
    if token:
        sent["authorization"] = f"Bearer {edge.tokens.access()}"
    return sent


async def post(
    edge: Edge, path: str, message: Message, sent: dict[str, str] | None = None
) -> httpx.Response:
    async with httpx.AsyncClient() as client:
        content = grpc_web_frame(message)
        return await client.post(
            edge.url + path, content=content, headers=sent or headers(edge), timeout=10
        )


async def test_a_binary_call_is_answered(edge: Edge):
    response = await post(edge, f"{USER}/GetProfile", user_pb2.GetProfileRequest())
    messages, trailers = grpc_web_parts(response.content)
    assert response.status_code == 200
    assert trailers["grpc-status"] == "0"
    profile = user_pb2.GetProfileResponse.FromString(messages[0])
    assert "authorization" in json.loads(profile.account.username)


async def test_a_text_call_is_answered(edge: Edge):
    async with httpx.AsyncClient() as client:
        response = await client.post(
            f"{edge.url}{USER}/Login",
            content=base64.b64encode(grpc_web_frame(user_pb2.LoginRequest(username="ana"))),
            headers=headers(edge, TEXT),
        )
    # Each frame is encoded for itself, so padding may stand in the middle.
    body = b"".join(base64.b64decode(part + b"=") for part in split_text(response.content))
    messages, trailers = grpc_web_parts(body)
    assert trailers["grpc-status"] == "0"
    assert user_pb2.LoginResponse.FromString(messages[0]).account.username == "ana"


def split_text(body: bytes) -> list[bytes]:
    """Split base64 at its paddings, which are taken away."""
    return [part.ljust(-(-len(part) // 4) * 4 - 1, b"=") for part in body.split(b"=") if part]


async def test_a_server_stream_arrives_message_by_message(edge: Edge):
    subscribe = grpc_web_frame(conversation_pb2.SubscribeRequest())
    async with (
        httpx.AsyncClient() as client,
        client.stream(
            "POST", f"{edge.url}{CONVERSATION}/Subscribe", content=subscribe, headers=headers(edge)
        ) as response,
        asyncio.timeout(10),
    ):
        assert response.headers["x-parley-affinity"]
        # A compressor holds a stream back until it has enough of it.
        assert "gzip" in response.request.headers["accept-encoding"]
        assert "content-encoding" not in response.headers
        received, numbers = b"", []
        async for chunk in response.aiter_raw():
            received += chunk
            messages, _ = grpc_web_parts(received)
            numbers = [
                conversation_pb2.SubscribeResponse.FromString(each).response.pong.nonce
                for each in messages
            ]
            if len(numbers) >= 3:
                break
    assert numbers[:3] == [1, 2, 3]


async def test_no_token_is_401_with_the_reason_in_the_headers(edge: Edge):
    sent = headers(edge, token=False)
    response = await post(edge, f"{USER}/GetProfile", user_pb2.GetProfileRequest(), sent)
    assert response.status_code == 401
    assert response.headers["grpc-status"] == "16"
    encoded = response.headers["grpc-status-details-bin"]
    status = Status.FromString(base64.b64decode(encoded + "=" * (-len(encoded) % 4)))
    info = ErrorInfo()
    status.details[0].Unpack(info)
    assert info.reason == "TOKEN_MISSING"


async def test_a_token_in_the_query_is_not_taken(edge: Edge):
    path = f"{USER}/GetProfile?access_token={edge.tokens.access()}"
    sent = headers(edge, token=False)
    response = await post(edge, path, user_pb2.GetProfileRequest(), sent)
    assert response.headers["grpc-status"] == "16"


async def test_an_internal_method_does_not_exist(edge: Edge):
    path = "/parley.history.v1.HistoryService/Ingest"
    response = await post(edge, path, history_pb2.IngestRequest())
    assert response.headers["grpc-status"] == "12"


async def test_ten_megabytes_are_refused_as_too_much(edge: Edge):
    """A client that reads while it sends is told. HTTP/1.1 then closes the connection."""
    body = grpc_web_frame(user_pb2.LoginRequest(username="x" * 10_000_000))
    sent = {**headers(edge), "host": edge.address, "content-length": str(len(body))}
    lines = [f"POST {USER}/Login HTTP/1.1", *(f"{k}: {v}" for k, v in sent.items()), "", ""]
    reader, writer = await asyncio.open_connection(edge.settings.host, edge.settings.port)
    writer.write("\r\n".join(lines).encode() + body)
    async with asyncio.timeout(10):
        received = await reader.readuntil(b"\r\n\r\n")
        while b"grpc-status:" not in received.lower():
            received += await reader.read(65536)
    writer.transport.abort()
    status = received.lower().partition(b"grpc-status:")[2].strip()
    assert status.startswith(b"8\r\n")


async def test_a_push_with_the_affinity_header_reaches_its_process(edge: Edge):
    subscribe = grpc_web_frame(conversation_pb2.SubscribeRequest())
    async with (
        httpx.AsyncClient() as client,
        client.stream(
            "POST", f"{edge.url}{CONVERSATION}/Subscribe", content=subscribe, headers=headers(edge)
        ) as stream,
    ):
        affinity = stream.headers["x-parley-affinity"]
        sent = {**headers(edge), "x-parley-affinity": affinity}
        push = conversation_pb2.PushRequest()
        response = await post(edge, f"{CONVERSATION}/Push", push, sent)
    _, trailers = grpc_web_parts(response.content)
    assert trailers["grpc-status"] == "0"


async def test_a_push_for_a_process_that_is_gone_fails_and_reaches_no_other(edge: Edge):
    gone = base64.b64encode(b"127.0.0.1:1").decode()
    sent = {**headers(edge), "x-parley-affinity": gone}
    response = await post(edge, f"{CONVERSATION}/Push", conversation_pb2.PushRequest(), sent)
    assert response.headers["grpc-status"] == "14"


PREFLIGHT = {
    "access-control-request-method": "POST",
    "access-control-request-headers": "authorization, content-type, x-grpc-web",
}


class TestOtherOrigins:
    async def preflight(self, edge: Edge, origin: str) -> httpx.Response:
        async with httpx.AsyncClient() as client:
            return await client.options(
                f"{edge.url}{USER}/GetProfile", headers={**PREFLIGHT, "origin": origin}
            )

    async def test_a_page_of_a_known_origin_may_ask(self, edge: Edge):
        response = await self.preflight(edge, ORIGIN["origin"])
        assert response.status_code == 200
        assert response.headers["access-control-allow-origin"] == ORIGIN["origin"]
        allowed = response.headers["access-control-allow-headers"]
        assert {"authorization", "x-grpc-web", "x-parley-affinity"} <= set(allowed.split(", "))

    async def test_a_page_of_an_unknown_origin_may_not(self, edge: Edge):
        response = await self.preflight(edge, "https://evil.example")
        assert "access-control-allow-origin" not in response.headers

    async def test_by_default_no_other_may_and_what_a_proxy_of_ours_hands_on_is_answered(
        self, edge: Edge, tmp_path: Path
    ):
        (port,) = free_ports(1)
        origins = GatewaySettings.model_fields["cors_origins"].default
        own = {"port": port, "admin_socket": free_socket(), "cors_origins": origins}
        settings = edge.settings.model_copy(update=own)
        vite = {"origin": "http://localhost:5173"}
        url = f"http://127.0.0.1:{port}{USER}/GetProfile"
        with envoy(settings, tmp_path) as log:
            await ready(settings, log)
            async with httpx.AsyncClient() as client:
                asked = await client.options(url, headers={**PREFLIGHT, **vite})
                called = await client.post(url, headers={**headers(edge, token=False), **vite})
        for answer in (asked, called):
            names = [name for name in answer.headers if name.startswith("access-control")]
            assert names == []
        # Refused for its token and for nothing else.
        assert called.headers["grpc-status"] == "16"

    async def test_a_page_may_read_status_and_affinity(self, edge: Edge):
        sent = {**headers(edge), **ORIGIN}
        response = await post(edge, f"{USER}/GetProfile", user_pb2.GetProfileRequest(), sent)
        exposed = set(response.headers["access-control-expose-headers"].split(", "))
        assert {
            "grpc-status",
            "grpc-message",
            "grpc-status-details-bin",
            "x-parley-affinity",
        } <= exposed
