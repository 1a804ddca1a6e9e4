"""The door's own rules, tried: what no honest client sends, and more than it takes."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import grpc.aio
import httpx
import pytest

from gateway.replies import REPLIES
from parley.user.v1 import user_pb2, user_pb2_grpc
from services.common.limits import DEFAULT_LIMITS
from services.common.status import from_rpc_error
from tests.integration.gateway.conftest import Edge, envoy, ready
from tests.integration.gateway.test_tls import write_certificate
from tests.ports import free_ports
from tests.sockets import free_socket

pytestmark = pytest.mark.asyncio(loop_scope="package")

PROFILE = "/parley.user.v1.UserService/GetProfile"
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS, HEADERS, GO_AWAY = 4, 1, 7
MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE = 3, 4


async def asked(edge: Edge, head: str) -> str:
    """Send an HTTP/1.1 request as it is written; return the answer's first line."""
    reader, writer = await asyncio.open_connection(edge.settings.host, edge.settings.port)
    try:
        writer.write(head.encode("latin-1"))
        async with asyncio.timeout(10):
            return (await reader.readline()).decode().strip()
    finally:
        writer.close()


def get(path: str, *headers: str) -> str:
    return "\r\n".join((f"GET {path} HTTP/1.1", "host: parley", *headers, "", ""))


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(get("/", "x_parley_user_id: me"), id="a header with an underscore"),
        pytest.param(get("/%2e%2e%2Fetc"), id="an escaped slash"),
        pytest.param(get("/a%5Cb"), id="an escaped backslash"),
        pytest.param(get("/", "transfer-encoding: chunked", "content-length: 3"), id="two lengths"),
        pytest.param(get("/", "bad header: x"), id="a header with a space"),
        pytest.param(get("/").replace("HTTP/1.1", "HTTP/1.0"), id="HTTP/1.0"),
        pytest.param("GET / HTTP/1.1\r\n\r\n", id="no host"),
        pytest.param("\x16\x03\x01\x02\x00 not http\r\n\r\n", id="no HTTP"),
    ],
)
async def test_what_no_honest_client_writes_is_refused(edge: Edge, head: str):
    status = (await asked(edge, head)).split(" ")[1]
    assert status in ("400", "426")


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param([f"x-a: {'a' * 20_000}"], id="20 kB"),
        pytest.param([f"x-{number}: 1" for number in range(120)], id="120 of them"),
    ],
)
async def test_too_many_headers_are_refused(edge: Edge, headers: list[str]):
    assert "431" in await asked(edge, get("/", *headers))


async def test_so_many_headers_are_taken_and_more_are_not(edge: Edge):
    """What counts is the whole head of the request."""
    beside = len(get("/", "x-a: "))
    for beyond, status in ((0, "200"), (1, "431")):
        value = "a" * (DEFAULT_LIMITS.max_metadata_bytes - beside + beyond)
        assert (await asked(edge, get("/", f"x-a: {value}"))).split()[1] == status
    # `host` is one of the hundred.
    for beyond, status in ((0, "200"), (1, "431")):
        many = [f"x-{number}: 1" for number in range(99 + beyond)]
        assert (await asked(edge, get("/", *many))).split()[1] == status


@pytest.mark.parametrize("path", [f"/{PROFILE}", f"/x/..{PROFILE}", f"{PROFILE}/.", f"/.{PROFILE}"])
async def test_no_other_spelling_of_a_path_goes_past_the_token(edge: Edge, path: str):
    async with httpx.AsyncClient(base_url=edge.url) as client:
        headers = {"content-type": "application/grpc-web+proto"}
        answer = await client.post(edge.url + path, headers=headers)
    assert answer.headers.get("grpc-status") in ("16", "12", None)
    assert answer.status_code in (401, 404)


async def test_a_client_cannot_change_the_doors_time_limits(edge: Edge):
    """Envoy believes such headers of clients with private addresses unless it is told otherwise."""
    metadata = (("x-envoy-upstream-rq-timeout-ms", "1"), ("x-envoy-max-retries", "50"))
    async with edge.channel() as channel:
        stub = user_pb2_grpc.UserServiceStub(channel)
        request = user_pb2.LoginRequest(username="ana", password="secret")
        for _ in range(20):
            answer = await stub.Login(request, metadata=metadata, timeout=10)
            assert answer.account.username == "ana"


async def test_a_connection_is_told_how_many_streams_it_may_have(edge: Edge):
    reader, writer = await asyncio.open_connection(edge.settings.host, edge.settings.port)
    with closing(writer):
        writer.write(PREFACE + struct.pack(">I", 0)[1:] + bytes([SETTINGS, 0]) + bytes(4))
        async with asyncio.timeout(10):
            size = int.from_bytes(await reader.readexactly(3), "big")
            kind, _, _ = struct.unpack(">BBI", await reader.readexactly(6))
            payload = await reader.readexactly(size)
    assert kind == SETTINGS
    told = dict(struct.iter_unpack(">HI", payload))
    assert told[MAX_CONCURRENT_STREAMS] == 1000
    assert told[INITIAL_WINDOW_SIZE] == 65_536


async def test_a_connection_of_frames_that_make_no_sense_is_closed(edge: Edge):
    reader, writer = await asyncio.open_connection(edge.settings.host, edge.settings.port)
    with closing(writer):
        frame = struct.pack(">I", 4)[1:] + bytes([HEADERS, 4]) + struct.pack(">I", 0) + b"\xff" * 4
        writer.write(PREFACE + struct.pack(">I", 0)[1:] + bytes([SETTINGS, 0]) + bytes(4) + frame)
        async with asyncio.timeout(10):
            while await reader.read(100_000):
                pass
    # Others do not notice.
    async with edge.channel() as channel:
        request = user_pb2.LoginRequest(username="ana", password="secret")
        await user_pb2_grpc.UserServiceStub(channel).Login(request, timeout=10)


# Envoy's own bounds, where it has any, are longer: 15 s and up.
CLOSED_WITHIN_S = 8.0
BYTES_APART_S = 0.05


async def closed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, said: bytes) -> bool:
    """Say `said` a byte at a time, then nothing; tell whether the door closes in time."""
    with closing(writer):
        try:
            async with asyncio.timeout(CLOSED_WITHIN_S):
                for byte in said:
                    writer.write(bytes([byte]))
                    await writer.drain()
                    await asyncio.sleep(BYTES_APART_S)
                while await reader.read(65_536):
                    pass
        except TimeoutError:
            return False
        except ConnectionError:
            return True
        return True


@pytest.mark.parametrize("tls", [False, True], ids=["clear", "tls"])
async def test_who_says_nothing_or_a_byte_at_a_time_is_sent_away(
    edge: Edge, tmp_path: Path, tls: bool
):
    """Ten thousand such connections are all that there may be: they kept everybody else out."""
    (port,) = free_ports(1)
    hurried: dict[str, Any] = {"slow_client_seconds": 0.5, "connection_idle_seconds": 0.5}
    hurried |= {"port": port, "admin_socket": free_socket()}
    context = None
    if tls:
        certificate, key = write_certificate(tmp_path)
        hurried |= {"tls_certificate": certificate, "tls_key": key}
        context = ssl.create_default_context(cafile=str(certificate))
    request = get("/", "x-padding: " + "a" * 10_000).encode()
    preface = PREFACE + bytes(3) + bytes([SETTINGS, 0]) + bytes(4)
    headers = preface + (100).to_bytes(3, "big") + bytes([HEADERS, 0]) + (1).to_bytes(4, "big")

    async def met(said: bytes, at_once: bytes = b"", *, trusting: bool = True) -> bool:
        shaken = context if trusting else None
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=shaken)
        writer.write(at_once)
        return await closed(reader, writer, said)

    with envoy(edge.settings.model_copy(update=hurried), tmp_path) as log:
        await ready(edge.settings.model_copy(update=hurried), log)
        assert (
            await asyncio.gather(
                met(b"", trusting=False),
                met(b"\x16\x03\x01" + bytes(500), trusting=False),
                met(b""),
                met(request),
                met(request[2_000:], request[:2_000]),
                met(PREFACE * 500),
                met(b"", preface),
                met(bytes(500), headers),
            )
            == [True] * 8
        )
        # Who comes as others do is let in all the same.
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
        with closing(writer):
            writer.write(get("/").encode())
            assert b"200" in await reader.readline()


def begun_login() -> bytes:
    """Return the beginning of a call that needs no token; 4,096 bytes of it are to come."""
    path = "/parley.user.v1.UserService/Login"
    kind = "content-type: application/grpc-web+proto"
    head = get(path, kind, "content-length: 4101").replace("GET", "POST")
    return head.encode() + b"\0\0\0\x10\0"


async def test_strangers_who_fill_their_places_keep_no_learner_out(edge: Edge, tmp_path: Path):
    (port,) = free_ports(1)
    # One place for who brings no token.
    few = {
        "port": port,
        "admin_socket": free_socket(),
        "max_streams": 4,
        "unary_timeout_seconds": 30,
    }
    settings = edge.settings.model_copy(update=few)
    login = user_pb2.LoginRequest(username="ana", password="secret")
    with envoy(settings, tmp_path) as log:
        await ready(settings, log)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            stub = user_pb2_grpc.UserServiceStub(channel)
            # When this is answered, the service is known to be there.
            await stub.Login(login, wait_for_ready=True, timeout=20)
            with ExitStack() as open_sockets:
                refused = "OK"
                async with asyncio.timeout(20):
                    while refused == "OK":
                        # Of the two calls the one that comes first has the place.
                        _, writer = await asyncio.open_connection("127.0.0.1", port)
                        open_sockets.enter_context(closing(writer))
                        writer.write(begun_login())
                        await asyncio.sleep(0.05)
                        refused = await outcome(stub.Login(login))
                assert refused == "TOO_MANY_CALLS"
                await stub.GetProfile(
                    user_pb2.GetProfileRequest(), metadata=edge.metadata(), timeout=10
                )


async def outcome(call: Any) -> str:
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return from_rpc_error(error).reason
    return "OK"


async def test_a_call_whose_request_comes_a_byte_at_a_time_ends(edge: Edge):
    """Its time used to be counted from the end of its request, so that it had none."""
    reader, writer = await asyncio.open_connection(edge.settings.host, edge.settings.port)
    with closing(writer):
        writer.write(begun_login())
        async with asyncio.timeout(CLOSED_WITHIN_S):
            answer = asyncio.create_task(reader.readuntil(b"\r\n\r\n"))
            while not answer.done():
                writer.write(b"\0")
                await asyncio.wait([answer], timeout=BYTES_APART_S)
    (reply,) = (each for each in REPLIES if each.reason == "DEADLINE_EXCEEDED")
    assert f"grpc-status-details-bin: {reply.details}\r\n" in answer.result().decode()


async def test_more_connections_than_there_may_be_are_closed_at_once(edge: Edge, tmp_path: Path):
    (port,) = free_ports(1)
    few = {"port": port, "admin_socket": free_socket(), "max_connections": 3}
    settings = edge.settings.model_copy(update=few)

    def connection() -> socket.socket:
        opened = socket.create_connection((settings.host, settings.port), timeout=10)
        opened.sendall(b"GET / HTTP/1.1\r\nhost: parley\r\n\r\n")
        return opened

    def answers(opened: socket.socket) -> bool:
        try:
            return bool(opened.recv(1))
        except ConnectionResetError:
            return False

    with envoy(settings, tmp_path) as log:
        await ready(settings, log)
        held = [await asyncio.to_thread(connection) for _ in range(3)]
        try:
            assert all([await asyncio.to_thread(answers, each) for each in held])
            more = await asyncio.to_thread(connection)
            held.append(more)
            assert not await asyncio.to_thread(answers, more)
            # Administration is reached all the same, for whoever has to find out why.
            await ready(settings, log)
        finally:
            for each in held:
                each.close()
