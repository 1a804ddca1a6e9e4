"""What a service learns of where a client is: what the gateway saw, whatever the client says."""

from __future__ import annotations

import json
from typing import Any

import pytest

from parley.user.v1 import user_pb2
from parley.user.v1.user_pb2_grpc import UserServiceStub
from services.common.interceptors.pace import FORWARDED_KEY
from tests.integration.gateway.conftest import Edge

pytestmark = pytest.mark.asyncio(loop_scope="package")


@pytest.mark.parametrize("said", [(), ("203.0.113.7",), ("203.0.113.7, 198.51.100.1", "192.0.2.1")])
async def test_the_last_address_is_the_gateways_own_word(edge: Edge, said: tuple[str, ...]):
    metadata = (*edge.metadata(), *((FORWARDED_KEY, each) for each in said))
    async with edge.channel() as channel:
        stub: Any = UserServiceStub(channel)
        answer = await stub.GetProfile(user_pb2.GetProfileRequest(), metadata=metadata)
    forwarded = json.loads(answer.account.username)[FORWARDED_KEY]
    assert forwarded.split(",")[-1].strip() == "127.0.0.1"
