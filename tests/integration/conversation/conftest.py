"""The whole conversation service, with the services around it scripted, in this process."""

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import grpc.aio
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from parley.ai.v1 import ai_pb2_grpc
from parley.conversation.v1 import conversation_pb2, conversation_pb2_grpc
from parley.history.v1 import history_pb2_grpc
from parley.media.v1 import media_pb2_grpc
from parley.user.v1 import user_pb2_grpc
from services.common.ids import new_id
from services.common.lifecycle import Running, running
from services.common.limits import DEFAULT_LIMITS, Limits
from services.conversation.bootstrap import bootstrap
from services.conversation.settings import ConversationSettings
from tests.integration.conversation.fakes import FakeAi, FakeHistory, FakeMedia, FakeUser

USER_ID = "01900000-0000-7000-8000-000000000001"
OTHER_ID = "01900000-0000-7000-8000-000000000002"

Request = conversation_pb2.ConverseRequest
Response = conversation_pb2.ConverseResponse


class Talk:
    """A client's side of one session."""

    def __init__(self, call: Any) -> None:
        self.call = call
        self.seen: list[Response] = []
        self._seq = 0

    async def send(self, **message: Any) -> int:
        self._seq += 1
        await self.call.write(Request(seq=self._seq, **message))
        return self._seq

    async def start(self, **start: Any) -> conversation_pb2.SessionStarted:
        await self.send(start=conversation_pb2.StartSession(**start))
        return (await self.until("started")).started

    async def read(self) -> Response | None:
        async with asyncio.timeout(20):
            response = await self.call.read()
        if response is grpc.aio.EOF:
            return None
        self.seen.append(response)
        return response

    async def until(self, kind: str) -> Response:
        """Read up to the next message of a kind, and return it."""
        while (response := await self.read()) is not None:
            if response.HasField(kind):
                return response
        raise AssertionError(
            f"the stream ended before {kind}: {await self.call.code()} {await self.call.details()}"
        )

    async def to_end(self) -> list[Response]:
        while await self.read() is not None:
            pass
        return self.seen

    def of_kind(self, kind: str) -> list[Any]:
        return [getattr(each, kind) for each in self.seen if each.HasField(kind)]


class World:
    """Everything a test of the service needs."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.ai, self.history, self.media, self.user = (
            FakeAi(),
            FakeHistory(),
            FakeMedia(),
            FakeUser(),
        )
        self.key = Ed25519PrivateKey.generate()
        self.limits = DEFAULT_LIMITS
        self.overrides: dict[str, Any] = {}
        self.running: Running
        self.stub: Any
        self._peers: grpc.aio.Server
        self._stack = AsyncExitStack()
        self._address = ""

    def token(self, user_id: str = USER_ID, lifetime: int = 600, session_id: str = OTHER_ID) -> str:
        now = int(time.time())
        claims = {
            "iss": "parley",
            "aud": "parley",
            "sub": user_id,
            "sid": session_id,
            "iat": now - 1_000,
            "exp": now + lifetime,
            "jti": new_id(),
        }
        headers = {"typ": "at+jwt", "kid": "test"}
        return jwt.encode(claims, self.key, algorithm="EdDSA", headers=headers)

    async def open_peers(self) -> None:
        raw = self.key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        x = base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
        keys = {"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "test", "x": x}]}
        folder = self.data_dir / "keys"
        folder.mkdir(exist_ok=True)
        (folder / "jwks.json").write_text(json.dumps(keys))
        self._peers = grpc.aio.server()
        ai_pb2_grpc.add_AiServiceServicer_to_server(self.ai, self._peers)
        history_pb2_grpc.add_HistoryServiceServicer_to_server(self.history, self._peers)
        media_pb2_grpc.add_MediaServiceServicer_to_server(self.media, self._peers)
        user_pb2_grpc.add_UserServiceServicer_to_server(self.user, self._peers)
        self._address = f"127.0.0.1:{self._peers.add_insecure_port('127.0.0.1:0')}"
        await self._peers.start()

    async def start(self, limits: Limits | None = None, **overrides: Any) -> None:
        """Start the service, with smaller limits or other settings where a test wants them."""
        settings = ConversationSettings(
            data_dir=self.data_dir,
            port=0,
            metrics_port=0,
            drain_seconds=overrides.pop("drain_seconds", 5.0),
            user_address=self._address,
            ai_address=self._address,
            history_address=self._address,
            media_address=self._address,
            **overrides,
        )
        self.running = await self._stack.enter_async_context(
            running("conversation", settings, bootstrap, limits=limits or DEFAULT_LIMITS)
        )
        channel = grpc.aio.insecure_channel(self.running.address)
        await self._stack.enter_async_context(channel)
        self.stub = conversation_pb2_grpc.ConversationServiceStub(channel)

    async def stop(self) -> None:
        await self._stack.aclose()
        self._stack = AsyncExitStack()

    async def close(self) -> None:
        await self.stop()
        await self._peers.stop(0)

    def metadata(self, user_id: str = USER_ID) -> tuple[tuple[str, str], ...]:
        return (("authorization", f"Bearer {self.token(user_id)}"),)

    def talk(self, token: str | None = None, user_id: str = USER_ID) -> Talk:
        metadata = (("authorization", f"Bearer {token or self.token(user_id)}"),)
        return Talk(self.stub.Converse(metadata=metadata))


@pytest.fixture
async def empty_world(tmp_path: Path) -> AsyncIterator[World]:
    """The services around it, and the service not started yet."""
    world = World(tmp_path)
    await world.open_peers()
    try:
        yield world
    finally:
        await world.close()


@pytest.fixture
async def world(empty_world: World) -> World:
    await empty_world.start()
    return empty_world
