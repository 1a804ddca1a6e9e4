"""Chains of refreshes: every token is used once, and the next run goes on where one ended."""

from __future__ import annotations

import grpc.aio
import pytest

from bench.ghz_refresh import refresh_all
from parley.user.v1 import user_pb2, user_pb2_grpc


class Counting(user_pb2_grpc.UserServiceServicer):
    """Gives `a1` for `a0`, `a2` for `a1` and so on; refuses a token that it saw before."""

    def __init__(self):
        self.seen = set()

    async def Refresh(self, request, context):
        token = request.refresh_token
        assert token not in self.seen
        self.seen.add(token)
        following = f"{token[0]}{int(token[1:]) + 1}"
        return user_pb2.RefreshResponse(tokens={"refresh_token": following})


@pytest.fixture
async def server():
    server = grpc.aio.server()
    servicer = Counting()
    user_pb2_grpc.add_UserServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield f"127.0.0.1:{port}", servicer
    await server.stop(None)


async def test_each_token_is_used_once_and_the_last_ones_are_kept(server):
    address, servicer = server
    tokens = ["a0", "b0"]
    for _ in range(2):
        took, latencies = await refresh_all(address, tokens, 0.05)
        assert took >= 0.05
        assert latencies
    assert len(servicer.seen) == sum(int(token[1:]) for token in tokens)


async def test_a_refusal_ends_the_run(server):
    address, servicer = server
    servicer.seen.add("a0")
    with pytest.raises(ExceptionGroup):
        await refresh_all(address, ["a0"], 0.05)
