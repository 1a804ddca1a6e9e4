"""Parley in this process, with limits so small that a test comes to them in a second.

async with town(folder) as services:
    async with services.parley(Small({"conversation_idle_seconds": 1.0})) as small:
        async with small.caller() as one: ...

The services are the real ones, on the scripted engine, behind a real Envoy. Only the conversation
service has the small limits, and each set of them its own Envoy: the others are shared.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from pkgutil import resolve_name
from typing import Any
from unittest.mock import patch

from gateway.settings import GatewaySettings
from services.ai.bootstrap import bootstrap as ai
from services.ai.settings import AiSettings
from services.common.lifecycle import running
from services.common.limits import DEFAULT_LIMITS
from services.conversation.bootstrap import bootstrap as conversation
from services.conversation.settings import ConversationSettings
from services.history.bootstrap import bootstrap as history
from services.history.settings import HistorySettings
from services.media.bootstrap import bootstrap as media
from services.media.settings import MediaSettings
from services.user.bootstrap import bootstrap as user
from services.user.settings import UserSettings
from tests.e2e.caller import BOUND_S, Caller
from tests.integration.gateway.conftest import administration, built_pages, envoy, ready
from tests.ports import free_ports
from tests.sockets import free_socket

_SHARED = ("user", "ai", "history", "media")

SESSIONS = 2
"""Of an account at once, in the shared user service."""

LOGIN_ATTEMPTS = 2
"""Failures of one name at one address, there."""

REGISTRATIONS = 3
"""Accounts that one address makes in an hour, there."""


@dataclass(frozen=True)
class Small:
    """Limits and settings of one conversation service, where they are not the usual.

    from_elsewhere: the gateway believes what its clients say of their addresses, so that they
        count as clients on other machines.
    edge: settings of its gateway.
    constants: what modules made of limits when they were imported, by `module:NAME`.
    """

    limits: Mapping[str, float]
    settings: Mapping[str, Any] = field(default_factory=dict)
    from_elsewhere: bool = False
    edge: Mapping[str, Any] = field(default_factory=dict)
    constants: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Parley:
    """A gateway, and the conversation service behind it."""

    address: str
    town: Town

    @asynccontextmanager
    async def caller(self, **headers: str) -> AsyncIterator[Caller]:
        """Yield a caller with a new account, whose every call carries `headers`."""
        # At the user service itself, where nobody counts how fast accounts are made.
        desk, one = Caller(self.town.addresses["user"]), Caller(self.address)
        try:
            await desk.register()
            one.token, one.user_id = desk.token, desk.user_id
            one.besides.update(headers)
            yield one
        finally:
            await desk.channel.close()
            await one.channel.close()


class Town:
    """The services that are shared."""

    def __init__(self, folder: Path, ports: Mapping[str, int], jwks_port: int) -> None:
        self.addresses = {name: f"127.0.0.1:{port}" for name, port in ports.items()}
        self._folder = folder
        self._ports = ports
        self._jwks_port = jwks_port
        self._opened = 0

    @property
    def _common(self) -> dict[str, Any]:
        addresses = {f"{name}_address": each for name, each in self.addresses.items()}
        return {"data_dir": self._folder / "data", "drain_seconds": 1, **addresses}

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Run the shared services."""
        common, ports = {"metrics_port": 0, **self._common}, self._ports
        users = {
            **common,
            "metrics_port": self._jwks_port,
            "login_attempts": LOGIN_ATTEMPTS,
            "registrations_per_hour": REGISTRATIONS,
        }
        few = replace(DEFAULT_LIMITS, sessions_per_user=SESSIONS)
        async with AsyncExitStack() as stack:
            for name, settings, bootstrap in (
                ("user", UserSettings(bcrypt_cost=4, port=ports["user"], **users), user),
                ("ai", AiSettings(engines=("scripted",), port=ports["ai"], **common), ai),
                ("history", HistorySettings(port=ports["history"], **common), history),
                ("media", MediaSettings(port=ports["media"], **common), media),
            ):
                await stack.enter_async_context(running(name, settings, bootstrap, limits=few))
            yield

    @asynccontextmanager
    async def parley(self, small: Small) -> AsyncIterator[Parley]:
        """Run a conversation service with such limits, and a gateway in front of it all."""
        port, websocket_port, gateway_port = free_ports(3)
        self._opened += 1
        folder = self._folder / f"gateway-{self._opened}"
        folder.mkdir()
        settings = ConversationSettings(
            port=port,
            websocket_port=websocket_port,
            metrics_port=0,
            **self._common,
            **small.settings,
        )
        addresses: dict[str, Any] = {
            f"{name}_addresses": each for name, each in self.addresses.items()
        }
        edge = GatewaySettings(
            web_dir=built_pages(folder / "dist"),
            port=gateway_port,
            admin_socket=free_socket(),
            jwks_address=f"127.0.0.1:{self._jwks_port}",
            conversation_addresses=(f"127.0.0.1:{port}",),
            conversation_websocket_addresses=(f"127.0.0.1:{websocket_port}",),
            trusted_hops=1 if small.from_elsewhere else 0,
            **addresses,
            **small.edge,
        )
        limits = replace(DEFAULT_LIMITS, **small.limits)
        async with AsyncExitStack() as stack:
            for name, value in small.constants.items():
                module, _, constant = name.partition(":")
                stack.enter_context(patch.object(resolve_name(module), constant, value))
            await stack.enter_async_context(
                running("conversation", settings, conversation, limits=limits)
            )
            with envoy(edge, folder) as log:
                await ready(edge, log)
                await _all_healthy(edge)
                yield Parley(f"127.0.0.1:{gateway_port}", self)


@asynccontextmanager
async def town(folder: Path) -> AsyncIterator[Town]:
    """Run what every Parley of a test module shares, below `folder`."""
    *ports, jwks_port = free_ports(len(_SHARED) + 1)
    found = Town(folder, dict(zip(_SHARED, ports, strict=True)), jwks_port)
    async with found.open():
        yield found


async def _all_healthy(edge: GatewaySettings) -> None:
    """Wait until the gateway holds every service for healthy."""
    async with asyncio.timeout(BOUND_S):
        while True:
            told = await administration(edge, "/clusters?format=json")
            clusters = json.loads(told)["cluster_statuses"]
            hosts = [host for each in clusters for host in each.get("host_statuses", ())]
            # The flags of what is wrong; of a healthy host only the resolver's verdict is left.
            if not any(set(host["health_status"]) - {"eds_health_status"} for host in hosts):
                return
            await asyncio.sleep(0.05)
