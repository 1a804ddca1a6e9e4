"""WebSockets at their door: so many of a learner, an address, and all; none that stays silent."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from websockets import ConnectionClosed, InvalidStatus, Subprotocol
from websockets.asyncio.client import ClientConnection, connect

from services.common.clock import ManualClock
from services.common.ids import new_id
from services.common.interceptors.pace import CLIENT_ADDRESS_KEY
from services.common.lifecycle import running
from services.common.limits import DEFAULT_LIMITS
from services.conversation.bootstrap import bootstrap
from services.conversation.settings import ConversationSettings
from tests.ports import free_ports

ELSEWHERE, HERE = "203.0.113.7", "127.0.0.1"


@dataclass(frozen=True)
class Door:
    """A running conversation service, and the key whose tokens it takes."""

    url: str
    key: Ed25519PrivateKey
    clock: ManualClock

    def token(self) -> str:
        """Return the token of a learner of its own."""
        now = int(self.clock.now().timestamp())
        claims = {"iss": "parley", "aud": "parley", "sub": new_id(), "sid": new_id(), "jti": "1"}
        return jwt.encode(
            claims | {"iat": now, "exp": now + 600},
            self.key,
            "EdDSA",
            headers={"typ": "at+jwt", "kid": "one"},
        )

    def connecting(self, address: str, token: str) -> connect:
        protocols = [Subprotocol("parley.v1"), Subprotocol(f"parley.token.{token}")]
        headers = {CLIENT_ADDRESS_KEY: address}
        return connect(self.url, subprotocols=protocols, additional_headers=headers)

    async def ended(self, address: str, token: str = "forged", say: str = "") -> str:
        """Connect and say nothing, or one frame; return the reason of the close, or the status."""
        try:
            async with self.connecting(address, token) as socket:
                if say:
                    await socket.send(say)
                return await closed(socket)
        except InvalidStatus as refused:
            return f"{refused.response.status_code} {refused.response.headers.get('Retry-After')}"

    async def admitted(self, address: str, token: str) -> None:
        """Wait until a learner's connection finds a place: the last one's end is not at once."""
        async with asyncio.timeout(20):
            while await self.ended(address, token, say="no message") != "MALFORMED_MESSAGE":
                pass


async def closed(socket: ClientConnection) -> str:
    """Wait until the server closes; return the reason."""
    try:
        async with asyncio.timeout(20):
            while True:
                await socket.recv()
    except ConnectionClosed as ended:
        return ended.rcvd.reason if ended.rcvd else ""


@asynccontextmanager
async def opened(folder: Path, **limits: Any) -> AsyncIterator[Door]:
    (port,) = free_ports(1)
    settings = ConversationSettings(data_dir=folder, port=0, metrics_port=0, websocket_port=port)
    key, clock = Ed25519PrivateKey.generate(), ManualClock()
    public = base64.urlsafe_b64encode(key.public_key().public_bytes_raw()).rstrip(b"=").decode()
    known = {"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "kid": "one", "x": public}
    (folder / "keys").mkdir()
    (folder / "keys" / "jwks.json").write_text(json.dumps({"keys": [known]}))
    bounds = replace(DEFAULT_LIMITS, **limits)
    async with running("conversation", settings, bootstrap, clock=clock, limits=bounds):
        yield Door(f"ws://127.0.0.1:{port}/ws", key, clock)


async def test_n_connections_from_an_address_pass_and_one_more_is_refused(tmp_path: Path):
    async with opened(tmp_path, calls_per_address_per_second=1) as door:
        for _ in range(5):
            assert await door.ended(ELSEWHERE) == "TOKEN_INVALID"
        assert await door.ended(ELSEWHERE) == "429 1", "before the upgrade, with the time to wait"
        assert await door.ended("203.0.113.8") == "TOKEN_INVALID"
        for _ in range(10):
            assert await door.ended(HERE) == "TOKEN_INVALID"
        for _ in range(5):
            assert await door.ended("127.0.0.1 behind a proxy") == "TOKEN_INVALID"
        assert await door.ended("127.0.0.1 behind a proxy") == "429 1"


async def test_n_silent_connections_of_a_learner_are_held_and_one_more_is_refused(tmp_path: Path):
    """One account's silent sockets took every place there was."""
    async with opened(tmp_path, concurrent_calls_per_user=2) as door, AsyncExitStack() as stack:
        token = door.token()
        sockets = [
            await stack.enter_async_context(door.connecting(ELSEWHERE, token)) for _ in range(3)
        ]
        ends = {asyncio.create_task(closed(each)): each for each in sockets}
        done, held = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        assert [each.result() for each in done] == ["TOO_MANY_CALLS"]
        assert await door.ended(ELSEWHERE, token) == "TOO_MANY_CALLS"
        for whose in ((ELSEWHERE, door.token()), (HERE, token)):
            assert await door.ended(*whose, say="no message") == "MALFORMED_MESSAGE"
        await ends[held.pop()].close()
        await door.admitted(ELSEWHERE, token)
        for each in ends:
            each.cancel()


async def test_n_connections_at_once_find_a_place_and_one_more_does_not(tmp_path: Path):
    """They were counted when they were open: as many as came together found room."""
    async with opened(tmp_path, concurrent_calls=5) as door, AsyncExitStack() as stack:
        tried = [door.connecting(HERE, door.token()) for _ in range(12)]
        sockets = await asyncio.gather(
            *(stack.enter_async_context(each) for each in tried), return_exceptions=True
        )
        held = [each for each in sockets if isinstance(each, ClientConnection)]
        refused = [each for each in sockets if isinstance(each, InvalidStatus)]
        assert (len(held), len(refused)) == (5, 7)
        assert {each.response.status_code for each in refused} == {503}
        await held[0].close()
        await door.admitted(HERE, door.token())


async def test_a_handshake_that_comes_to_nothing_keeps_no_place(tmp_path: Path):
    async with opened(tmp_path, concurrent_calls=2) as door:
        for _ in range(8):
            with pytest.raises(InvalidStatus):
                # A subprotocol that nobody speaks: refused after the door, before it is served.
                async with connect(door.url, subprotocols=[Subprotocol("another.v1")]):
                    pass
        await door.admitted(HERE, door.token())


async def test_a_learner_who_says_nothing_is_not_waited_for(tmp_path: Path):
    async with opened(tmp_path, start_timeout_seconds=0.2) as door:
        assert await door.ended(HERE, door.token()) == "START_REQUIRED"
