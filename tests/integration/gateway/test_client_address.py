"""What a service learns of where a client is: what the gateway saw, whatever the client says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import grpc.aio
import pytest

from parley.user.v1 import user_pb2
from parley.user.v1.user_pb2_grpc import UserServiceStub
from services.common.interceptors.pace import CLIENT_ADDRESS_KEY, address_in
from tests.integration.gateway.conftest import Edge, envoy, ready
from tests.ports import free_ports
from tests.sockets import free_socket

pytestmark = pytest.mark.asyncio(loop_scope="package")


@pytest.mark.parametrize(
    "said",
    [
        (),
        ((CLIENT_ADDRESS_KEY, "203.0.113.7"),),
        ((CLIENT_ADDRESS_KEY, "203.0.113.7"), (CLIENT_ADDRESS_KEY, "192.0.2.1")),
        (("x-forwarded-for", "203.0.113.7"),),
    ],
)
async def test_the_address_is_the_gateways_own_word(edge: Edge, said: tuple[tuple[str, str], ...]):
    async with edge.channel() as channel:
        stub: Any = UserServiceStub(channel)
        answer = await stub.GetProfile(
            user_pb2.GetProfileRequest(), metadata=(*edge.metadata(), *said)
        )
    assert json.loads(answer.account.username)[CLIENT_ADDRESS_KEY] == "127.0.0.1"


@pytest.mark.parametrize(
    ("hops", "said", "address"),
    [
        (1, "203.0.113.7", "203.0.113.7"),
        (1, "192.0.2.1, 203.0.113.7", "203.0.113.7"),
        (2, "192.0.2.1, 203.0.113.7, 198.51.100.2", "203.0.113.7"),
        (1, None, "127.0.0.1"),
        (2, "203.0.113.7", "127.0.0.1"),
    ],
    ids=["a proxy", "a client that forges", "two proxies", "a proxy that says nothing", "too few"],
)
async def test_behind_proxies_it_is_what_the_outermost_of_them_saw(
    edge: Edge, tmp_path: Path, hops: int, said: str | None, address: str
):
    """Through a proxy on this machine everybody had this machine's address, and no limits."""
    (port,) = free_ports(1)
    settings = edge.settings.model_copy(
        update={"port": port, "admin_socket": free_socket(), "trusted_hops": hops}
    )
    forwarded = (("x-forwarded-for", said),) if said else ()
    with envoy(settings, tmp_path) as log:
        await ready(settings, log)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            stub: Any = UserServiceStub(channel)
            answer = await stub.GetProfile(
                user_pb2.GetProfileRequest(),
                metadata=(*edge.metadata(), *forwarded),
                wait_for_ready=True,
                timeout=20,
            )
    seen = json.loads(answer.account.username)
    assert seen[CLIENT_ADDRESS_KEY] == f"{address} behind a proxy"
    assert address_in(seen) == address, "limited, whichever it is"
