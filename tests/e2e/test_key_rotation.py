"""The keys that sign access tokens change under load, twice, and no call fails."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any

import grpc
import grpc.aio
import jwt
import pytest
from google.protobuf.message import Message

from parley.ai.v1 import ai_pb2
from parley.conversation.v1 import conversation_pb2
from parley.history.v1 import history_pb2
from parley.media.v1 import media_pb2
from parley.user.v1 import user_pb2
from services.common.ids import new_id
from services.common.status import from_rpc_error
from tests.e2e.caller import BOUND_S, Caller
from tests.stack import Stack

# Longer than the verifiers wait between two looks at the keys: 10 s in a service, 1 s in this
# gateway, 2 s in the user service.
SETTLED_S = 15
_CALLS_BETWEEN = 0.02


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    settings = {
        "PARLEY_GATEWAY_JWKS_REFRESH_SECONDS": "1",
        "PARLEY_USER_KEY_SETTLED_SECONDS": str(SETTLED_S),
    }
    with Stack(tmp_path_factory.mktemp("k") / "d", settings=settings) as running:
        yield running


def run_keys(stack: Stack, *arguments: str) -> tuple[int, str]:
    """Run `python -m services.user keys …` as an operator does."""
    done = subprocess.run(
        [sys.executable, "-m", "services.user", "keys", *arguments],
        env=stack.environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


async def keys(stack: Stack, *arguments: str) -> tuple[int, str]:
    """Run it beside what goes on."""
    return await asyncio.to_thread(run_keys, stack, *arguments)


# Of each service one that looks at the token before anything else. There is no such session:
# whoever is told so was believed.
CALLS: dict[str, tuple[str, Message]] = {
    "user": ("parley.user.v1.UserService/GetProfile", user_pb2.GetProfileRequest()),
    "history": (
        "parley.history.v1.HistoryService/ListConversations",
        history_pb2.ListConversationsRequest(),
    ),
    "conversation": (
        "parley.conversation.v1.ConversationService/GetConversationState",
        conversation_pb2.GetConversationStateRequest(conversation_id=new_id()),
    ),
    "ai": ("parley.ai.v1.AiService/ListEngines", ai_pb2.ListEnginesRequest()),
    "media": ("parley.media.v1.MediaService/ListRecordings", media_pb2.ListRecordingsRequest()),
}
BELIEVED = {"", "NO_LIVE_SESSION"}


class Load:
    """Calls of every service, through the gateway and at its own port, with the newest token."""

    def __init__(self, stack: Stack, one: Caller, tokens: user_pb2.TokenPair) -> None:
        self._one = one
        self._tokens = tokens
        self._direct: dict[str, grpc.aio.Channel] = {
            name: grpc.aio.insecure_channel(f"127.0.0.1:{port}")
            for name, port in stack.service_ports.items()
        }
        self.kids: Counter[str] = Counter()
        self.failures: list[str] = []

    async def close(self) -> None:
        """Close the channels."""
        for each in self._direct.values():
            await each.close()

    async def run(self) -> None:
        """Call, and renew the token every time, until cancelled."""
        number = 0
        while True:
            number += 1
            await self._round(number)
            await asyncio.sleep(_CALLS_BETWEEN)

    async def _round(self, number: int) -> None:
        if number % 5 == 0:
            request = user_pb2.RefreshRequest(refresh_token=self._tokens.refresh_token)
            try:
                self._tokens = (await self._one.user.Refresh(request, timeout=BOUND_S)).tokens
            except grpc.aio.AioRpcError as error:
                self.failures.append(f"Refresh: {from_rpc_error(error).reason or error.code()}")
        token = self._tokens.access_token
        for name in CALLS:
            for way, channel in (("gateway", self._one.channel), ("direct", self._direct[name])):
                said = await self.ask(channel, name, token)
                if said not in BELIEVED:
                    self.failures.append(f"{name}, {way}: {said}")
        self.kids[str(jwt.get_unverified_header(token)["kid"])] += 1

    async def ask(self, channel: grpc.aio.Channel, name: str, token: str) -> str:
        """Call a service; return the reason of its refusal, empty for none."""
        path, request = CALLS[name]
        call: Any = channel.unary_unary(
            f"/{path}", request_serializer=lambda message: message.SerializeToString()
        )
        metadata = (("authorization", f"Bearer {token}"),)
        try:
            await call(request, metadata=metadata, timeout=BOUND_S)
        except grpc.aio.AioRpcError as error:
            return from_rpc_error(error).reason or str(error.code())
        return ""

    async def until_kids(self, count: int) -> None:
        """Wait until tokens of so many keys were taken, a good number of the newest."""
        async with asyncio.timeout(2 * BOUND_S):
            while len(self.kids) < count or list(self.kids.values())[-1] < 20:
                await asyncio.sleep(0.1)


@contextlib.asynccontextmanager
async def under(load: Load) -> Any:
    running = asyncio.create_task(load.run())
    try:
        yield
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running


@pytest.mark.timeout(180)
async def test_two_rotations_under_load_fail_no_call(stack: Stack):
    one = Caller(stack.address)
    request = user_pb2.RegisterRequest(username="rotated", password="three odd words")
    tokens = (await one.user.Register(request, timeout=BOUND_S)).tokens
    first = tokens.access_token
    load = Load(stack, one, tokens)
    async with under(load):
        await load.until_kids(1)
        assert (await keys(stack, "rotate"))[0] == 0
        code, said = await keys(stack, "rotate")
        assert code == 1, said
        assert "Try again in" in said
        await load.until_kids(2)
        async with asyncio.timeout(3 * SETTLED_S):
            while (await keys(stack, "rotate"))[0] != 0:
                await asyncio.sleep(1)
        await load.until_kids(3)
        # A token of before both rotations is good for the rest of its ten minutes.
        assert {await load.ask(one.channel, name, first) for name in CALLS} <= BELIEVED
    assert load.failures == []
    assert sum(load.kids.values()) > 60
    await load.close()
    await one.channel.close()


@pytest.mark.leaves_behind("supervisord starts another process in the killed one's place")
def test_a_restart_keeps_every_key(stack: Stack):
    _, before = run_keys(stack, "list")
    stack.kill("user")
    stack.wait_until_healthy("user")
    _, after = run_keys(stack, "list")
    ids = [{line.split()[1] for line in text.splitlines()} for text in (before, after)]
    assert ids[0] == ids[1]
