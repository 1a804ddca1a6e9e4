"""Connections count as calls do: so many from an address, and one more is told why not."""

import asyncio
from dataclasses import replace
from pathlib import Path

from websockets import ConnectionClosed, Subprotocol
from websockets.asyncio.client import connect

from services.common.clock import ManualClock
from services.common.interceptors.pace import CLIENT_ADDRESS_KEY
from services.common.lifecycle import running
from services.common.limits import DEFAULT_LIMITS
from services.conversation.bootstrap import bootstrap
from services.conversation.settings import ConversationSettings
from tests.ports import free_ports


async def closed_with(url: str, address: str) -> str:
    """Connect with a forged token from an address; return the reason of the close."""
    protocols = [Subprotocol("parley.v1"), Subprotocol("parley.token.forged")]
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
