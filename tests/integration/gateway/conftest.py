"""A real Envoy in front of stand-ins for the services."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
import pytest_asyncio

from gateway.administration import AdministrationError, ask
from gateway.binary import envoy_path
from gateway.render import render
from gateway.routes import SERVICES
from gateway.settings import GatewaySettings
from tests.integration.gateway.tokens import Tokens
from tests.integration.gateway.upstreams import JwksEndpoint, Upstream, Wire, upstreams
from tests.ports import free_ports
from tests.sockets import free_socket


@dataclass
class Edge:
    """The running gateway and what a test may do with it."""

    settings: GatewaySettings
    upstreams: dict[str, Upstream]
    tokens: Tokens
    jwks: JwksEndpoint
    wire: Wire
    """To the conversation service."""
    log: Path

    @property
    def address(self) -> str:
        return f"{self.settings.host}:{self.settings.port}"

    @property
    def url(self) -> str:
        return f"http://{self.address}"

    def channel(self) -> grpc.aio.Channel:
        return grpc.aio.insecure_channel(
            self.address, options=[("grpc.use_local_subchannel_pool", 1)]
        )

    def metadata(self, **claims: Any) -> tuple[tuple[str, str], ...]:
        return (("authorization", f"Bearer {self.tokens.access(**claims)}"),)

    async def until(self, service: str, health: str) -> None:
        """Wait until the gateway holds `service` for "healthy" or not."""
        async with asyncio.timeout(20):
            while True:
                told = await administration(self.settings, "/clusters?format=json")
                clusters = json.loads(told)["cluster_statuses"]
                hosts = next(c for c in clusters if c["name"] == service)["host_statuses"]
                # The flags of what is wrong; of a healthy host only the resolver's verdict is left.
                failing = any(set(host["health_status"]) - {"eds_health_status"} for host in hosts)
                if failing == (health != "healthy"):
                    return
                await asyncio.sleep(0.05)


def built_pages(folder: Path) -> Path:
    """Write what a build of the web client looks like."""
    for name, content in {
        "index.html": "<!doctype html><title>Parley</title>" + " " * 600,
        "sw.js": "self.addEventListener('fetch', () => {});",
        "manifest.webmanifest": "{}",
        # As large as no page of ours should ever be, and larger than Envoy buffers of a response.
        "assets/app-1a2b3c.js": "const answer = 42;\n" * 60_000,
        "assets/tutor-4d5e6f.png": "not text" * 1_000,
    }.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return folder


@contextmanager
def envoy(settings: GatewaySettings, folder: Path) -> Iterator[Path]:
    """Run Envoy with these settings; yield its log."""
    config, log = folder / "envoy.yaml", folder / "envoy.log"
    config.write_text(render(settings))
    command = [str(envoy_path()), "-c", str(config), "--disable-hot-restart", "--concurrency", "1"]
    # Appended to: Envoy opens it once more for its access log, and writes through both.
    with log.open("ab") as out:
        options = ["--file-flush-interval-msec", "50", "-l", "warning"]
        process = subprocess.Popen([*command, *options], stdout=out, stderr=out)
        try:
            yield log
        finally:
            process.terminate()
            process.wait(10)


async def administration(settings: GatewaySettings, what: str) -> bytes:
    """Return what the administration of the gateway with these settings answers to `what`."""
    assert settings.admin_socket is not None
    return await asyncio.to_thread(ask, settings.admin_socket, what)


async def ready(settings: GatewaySettings, log: Path) -> None:
    async with asyncio.timeout(20):
        while True:
            try:
                await administration(settings, "/ready")
            except AdministrationError:
                await asyncio.sleep(0.05)
            else:
                return


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def edge(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Edge]:
    folder = tmp_path_factory.mktemp("gateway")
    tokens = Tokens()
    jwks = JwksEndpoint(tokens.jwks())
    ports = free_ports(8)
    service_ports = dict(zip(SERVICES, ports, strict=False))
    wire = Wire(ports[7], service_ports["conversation"])
    addresses: dict[str, Any] = {
        f"{name}_addresses": f"127.0.0.1:{port}"
        for name, port in service_ports.items()
        if name != "conversation"
    }
    settings = GatewaySettings(
        web_dir=built_pages(folder / "dist"),
        port=ports[5],
        admin_socket=free_socket(),
        jwks_address=f"127.0.0.1:{ports[6]}",
        conversation_addresses=f"127.0.0.1:{wire.port}",
        jwks_refresh_seconds=1,
        unary_timeout_seconds=2,
        cors_origins=("https://learn.example",),
        **addresses,
    )
    async with jwks.serve(ports[6]), wire.open(), upstreams(service_ports) as running:
        with envoy(settings, folder) as log:
            await ready(settings, log)
            edge = Edge(settings, running, tokens, jwks, wire, log)
            for service in SERVICES:
                await edge.until(service, "healthy")
            yield edge
