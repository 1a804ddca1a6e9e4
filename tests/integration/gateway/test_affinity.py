"""What belongs to a session reaches the process that holds it, through a real Envoy."""

from __future__ import annotations

import asyncio
import base64
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import httpx
import pytest
import pytest_asyncio
from grpc_health.v1 import health_pb2
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import InvalidStatus

from gateway.render import LEAVING_HEADER
from gateway.settings import GatewaySettings
from parley.conversation.v1 import conversation_pb2
from tests.integration.gateway.conftest import Edge, built_pages, envoy, ready
from tests.integration.gateway.tokens import Tokens
from tests.integration.gateway.upstreams import (
    SERVICERS,
    JwksEndpoint,
    Upstream,
    Wire,
    grpc_web_frame,
    grpc_web_parts,
)
from tests.ports import free_ports
from tests.sockets import free_socket

pytestmark = pytest.mark.asyncio(loop_scope="module")

CONVERSATION = "/parley.conversation.v1.ConversationService"
SESSIONS = 24
PUSHES = 20


@dataclass
class Pair:
    """A gateway in front of two processes of the conversation service."""

    edge: Edge
    processes: dict[str, Upstream]
    """By the affinity that leads to each."""
    sockets: dict[str, str]
    leaving: set[str]
    """The processes that refuse what is new, though the gateway does not know it yet."""

    def headers(self, affinity: str = "") -> dict[str, str]:
        sent = {
            "content-type": "application/grpc-web+proto",
            "x-grpc-web": "1",
            "authorization": f"Bearer {self.edge.tokens.access()}",
        }
        return sent | ({"x-parley-affinity": affinity} if affinity else {})


def affinity_of(port: int) -> str:
    return base64.b64encode(f"127.0.0.1:{port}".encode()).decode()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pair(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Pair]:
    folder = tmp_path_factory.mktemp("pair")
    tokens = Tokens()
    jwks = JwksEndpoint(tokens.jwks())
    port, jwks_port, *ports = free_ports(6)
    settings = GatewaySettings(
        web_dir=built_pages(folder / "dist"),
        port=port,
        admin_socket=free_socket(),
        jwks_address=f"127.0.0.1:{jwks_port}",
        conversation_addresses=tuple(f"127.0.0.1:{each}" for each in ports[:2]),
        conversation_websocket_addresses=tuple(f"127.0.0.1:{each}" for each in ports[2:]),
    )
    servicer, add_to_server = SERVICERS["conversation"]
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(jwks.serve(jwks_port))
        processes = {}
        for each in ports[:2]:
            upstream = Upstream(servicer(affinity_of(each)), add_to_server, each)
            await upstream.start()
            stack.push_async_callback(upstream.stop)
            processes[affinity_of(each)] = upstream
        sockets: dict[str, str] = {}
        leaving: set[str] = set()
        for each in ports[2:]:
            await stack.enter_async_context(_socket_server(each, leaving))
            sockets[affinity_of(each)] = str(each)
        log = stack.enter_context(envoy(settings, folder))
        await ready(settings, log)
        edge = Edge(settings, {}, tokens, jwks, Wire(0, 0), log)
        await edge.until("conversation", "healthy")
        await edge.until("conversation_websocket", "healthy")
        yield Pair(edge, processes, sockets, leaving)


def _socket_server(port: int, leaving: set[str]) -> Any:
    """A process's WebSockets: each says which process it is, and what header led there."""

    async def answer(socket: ServerConnection) -> None:
        assert socket.request is not None
        await socket.send(f"{port} {socket.request.headers.get('x-parley-affinity', '')}")
        await socket.wait_closed()

    def admit(connection: ServerConnection, request: Any) -> Any:
        if request.path == "/healthz":
            return connection.respond(HTTPStatus.OK, "serving\n")
        if str(port) in leaving:
            refused = connection.respond(HTTPStatus.SERVICE_UNAVAILABLE, "leaving\n")
            refused.headers[LEAVING_HEADER] = "true"
            return refused
        return None

    return serve(answer, "127.0.0.1", port, process_request=admit)


async def subscribed(pair: Pair, client: httpx.AsyncClient, stack: AsyncExitStack) -> str:
    """Open a session; return its affinity. It lives as long as `stack`."""
    response = await stack.enter_async_context(
        client.stream(
            "POST",
            f"{CONVERSATION}/Subscribe",
            content=grpc_web_frame(conversation_pb2.SubscribeRequest()),
            headers=pair.headers(),
        )
    )
    affinity: str = response.headers["x-parley-affinity"]
    return affinity


async def pushed(pair: Pair, client: httpx.AsyncClient, affinity: str) -> str:
    """Push something; return which process took it."""
    response = await client.post(
        f"{CONVERSATION}/Push",
        content=grpc_web_frame(conversation_pb2.PushRequest()),
        headers=pair.headers(affinity),
    )
    _, trailers = grpc_web_parts(response.content)
    assert trailers["grpc-status"] == "0"
    return str(response.headers["x-answered-by"])


async def test_sessions_are_spread_and_none_of_their_messages_goes_astray(pair: Pair):
    """Also while one process is going away: what it holds still reaches it."""
    limits = httpx.Limits(max_connections=None)
    async with (
        AsyncExitStack() as stack,
        httpx.AsyncClient(base_url=pair.edge.url, timeout=20, limits=limits) as client,
    ):
        affinities = [await subscribed(pair, client, stack) for _ in range(SESSIONS)]
        shares = Counter(affinities)
        assert set(shares) == set(pair.processes), "both processes have sessions"
        leaving = pair.processes[affinities[0]]
        await leaving.statuses.set("", health_pb2.HealthCheckResponse.NOT_SERVING)
        try:
            await pair.edge.until("conversation", "failing")
            # Sessions that come now go to the other one ...
            other = next(each for each in pair.processes if each != affinities[0])
            assert [await subscribed(pair, client, stack) for _ in range(4)] == [other] * 4
            # ... and everybody's messages go where they belong.
            wanted = affinities * PUSHES
            reached = await asyncio.gather(*(pushed(pair, client, each) for each in wanted))
            assert list(reached) == wanted
        finally:
            await leaving.statuses.set("", health_pb2.HealthCheckResponse.SERVING)
            await pair.edge.until("conversation", "healthy")


async def test_a_new_session_is_opened_by_another_process_than_one_that_is_leaving(pair: Pair):
    going, staying = pair.processes
    pair.processes[going].servicer.leaving = True
    try:
        async with (
            AsyncExitStack() as stack,
            httpx.AsyncClient(base_url=pair.edge.url, timeout=20) as client,
        ):
            assert [await subscribed(pair, client, stack) for _ in range(10)] == [staying] * 10
    finally:
        pair.processes[going].servicer.leaving = False
        await pair.edge.until("conversation", "healthy")


async def test_what_cannot_reach_its_process_reaches_no_other(pair: Pair):
    """A retry of Envoy's forgets where the first try was to go."""
    gone = next(iter(pair.processes))
    await pair.processes[gone].stop()
    try:
        async with httpx.AsyncClient(base_url=pair.edge.url, timeout=20) as client:
            for _ in range(10):
                response = await client.post(
                    f"{CONVERSATION}/Push",
                    content=grpc_web_frame(conversation_pb2.PushRequest()),
                    headers=pair.headers(gone),
                )
                assert response.headers["grpc-status"] == "14"
    finally:
        await pair.processes[gone].start()
        await pair.edge.until("conversation", "healthy")


async def test_a_websocket_goes_where_its_query_says(pair: Pair):
    for affinity, name in pair.sockets.items():
        for _ in range(5):
            url = f"ws://{pair.edge.address}/ws?at={affinity}"
            async with connect(url) as socket:
                assert (await socket.recv()).split()[0] == name


async def test_a_websocket_without_a_wish_goes_anywhere(pair: Pair):
    seen = set()
    for _ in range(30):
        async with connect(f"ws://{pair.edge.address}/ws") as socket:
            seen.add((await socket.recv()).split()[0])
    assert seen == set(pair.sockets.values())


async def test_a_new_websocket_is_taken_by_another_process_than_one_that_is_leaving(pair: Pair):
    """The gateway learns by asking for health, later than a process that ends in a second."""
    staying, going = pair.sockets.values()
    pair.leaving.add(going)
    try:
        for _ in range(10):
            async with connect(f"ws://{pair.edge.address}/ws") as socket:
                assert (await socket.recv()).split()[0] == staying
    finally:
        pair.leaving.clear()
    await pair.edge.until("conversation_websocket", "healthy")


async def test_a_websocket_that_belongs_to_a_leaving_process_is_taken_by_no_other(pair: Pair):
    affinity, going = next(iter(pair.sockets.items()))
    pair.leaving.add(going)
    try:
        with pytest.raises(InvalidStatus) as caught:
            async with connect(f"ws://{pair.edge.address}/ws?at={affinity}"):
                pass
        assert caught.value.response.status_code == 503
    finally:
        pair.leaving.clear()
    await pair.edge.until("conversation_websocket", "healthy")


@pytest.mark.parametrize("wish", [affinity_of(1), "nonsense", "%00", "x" * 300])
async def test_a_websocket_never_goes_where_a_wish_leads_out_of_the_cluster(pair: Pair, wish: str):
    """The query is a stranger's: whatever stands there, only our own processes are reached."""
    reached = ""
    with suppress(InvalidStatus):
        async with connect(f"ws://{pair.edge.address}/ws?at={wish}") as socket:
            reached = str(await socket.recv()).split()[0]
    assert reached in ("", *pair.sockets.values())
