"""WebSockets at their door: so many from an address, and none that says nothing for long."""

import asyncio
import base64
import json
from dataclasses import replace
from pathlib import Path

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from websockets import ConnectionClosed, Subprotocol
from websockets.asyncio.client import connect

from services.common.clock import ManualClock
from services.common.ids import new_id
from services.common.interceptors.pace import CLIENT_ADDRESS_KEY
from services.common.lifecycle import running
from services.common.limits import DEFAULT_LIMITS
from services.conversation.bootstrap import bootstrap
from services.conversation.settings import ConversationSettings
from tests.ports import free_ports


async def closed_with(url: str, address: str, token: str = "forged") -> str:
    """Connect from an address and say nothing; return the reason of the close."""
    protocols = [Subprotocol("parley.v1"), Subprotocol(f"parley.token.{token}")]
    headers = {CLIENT_ADDRESS_KEY: address}
    async with connect(url, subprotocols=protocols, additional_headers=headers) as socket:
        try:
            async with asyncio.timeout(20):
                while True:
                    await socket.recv()
        except ConnectionClosed as closed:
            return closed.rcvd.reason if closed.rcvd else ""


async def test_n_connections_from_an_address_pass_and_one_more_is_refused(tmp_path: Path):
    (port,) = free_ports(1)
    settings = ConversationSettings(data_dir=tmp_path, port=0, metrics_port=0, websocket_port=port)
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "jwks.json").write_text('{"keys": []}')
    limits = replace(DEFAULT_LIMITS, calls_per_address_per_second=1)
    clock, url = ManualClock(), f"ws://127.0.0.1:{port}/ws"
    async with running("conversation", settings, bootstrap, clock=clock, limits=limits):
        for _ in range(5):
            assert await closed_with(url, "203.0.113.7") == "TOKEN_INVALID"
        assert await closed_with(url, "203.0.113.7") == "CALLS_TOO_FAST"
        assert await closed_with(url, "203.0.113.8") == "TOKEN_INVALID"
        for _ in range(10):
            assert await closed_with(url, "127.0.0.1") == "TOKEN_INVALID"
        for _ in range(5):
            assert await closed_with(url, "127.0.0.1 behind a proxy") == "TOKEN_INVALID"
        assert await closed_with(url, "127.0.0.1 behind a proxy") == "CALLS_TOO_FAST"


async def test_a_learner_who_says_nothing_is_not_waited_for(tmp_path: Path):
    (port,) = free_ports(1)
    settings = ConversationSettings(data_dir=tmp_path, port=0, metrics_port=0, websocket_port=port)
    key, clock = Ed25519PrivateKey.generate(), ManualClock()
    public = base64.urlsafe_b64encode(key.public_key().public_bytes_raw()).rstrip(b"=").decode()
    known = {"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "kid": "one", "x": public}
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "jwks.json").write_text(json.dumps({"keys": [known]}))
    now = int(clock.now().timestamp())
    claims = {"iss": "parley", "aud": "parley", "sub": new_id(), "sid": new_id(), "jti": "1"}
    token = jwt.encode(
        claims | {"iat": now, "exp": now + 600},
        key,
        "EdDSA",
        headers={"typ": "at+jwt", "kid": "one"},
    )
    limits = replace(DEFAULT_LIMITS, start_timeout_seconds=0.2)
    async with running("conversation", settings, bootstrap, clock=clock, limits=limits):
        url = f"ws://127.0.0.1:{port}/ws"
        assert await closed_with(url, "127.0.0.1", token) == "START_REQUIRED"
