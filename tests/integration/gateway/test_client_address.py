"""What a service learns of where a client is: what the gateway saw, whatever the client says."""

from __future__ import annotations

import json
from typing import Any

import pytest

from parley.user.v1 import user_pb2
from parley.user.v1.user_pb2_grpc import UserServiceStub
from services.common.interceptors.pace import CLIENT_ADDRESS_KEY
from tests.integration.gateway.conftest import Edge

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
