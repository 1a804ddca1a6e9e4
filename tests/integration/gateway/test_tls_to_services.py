"""TLS from the gateway to the services: which of them it takes for what they say they are."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health

from gateway.settings import GatewaySettings
from launcher import service_certificates
from launcher.service_certificates import ServiceCertificates
from services.common.peer_tls import PeerTls
from tests.integration.gateway.conftest import Edge, administration, envoy, ready
from tests.ports import free_ports
from tests.sockets import free_socket

pytestmark = pytest.mark.asyncio(loop_scope="package")

PROGRAMS = ("user", "ai", "history", "media", "gateway")


def certificates(folder: Path) -> ServiceCertificates:
    made = ServiceCertificates(folder)
    service_certificates.make(made, PROGRAMS)
    return made


@asynccontextmanager
async def healthy_service(port: int, tls: PeerTls | None) -> AsyncIterator[None]:
    """Serve nothing but good health."""
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    statuses = health.HealthServicer()
    await statuses.set("", health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(statuses, server)
    address = f"127.0.0.1:{port}"
    if tls is None:
        server.add_insecure_port(address)
    else:
        server.add_secure_port(address, tls.server_credentials())
    await server.start()
    try:
        yield
    finally:
        await server.stop(0)


async def counted(settings: GatewaySettings, name: str) -> None:
    """Wait until Envoy has counted one of `name`."""
    async with asyncio.timeout(20):
        while True:
            told = await administration(settings, f"/stats?filter=^{name}$")
            if int(told.rpartition(b" ")[2] or 0):
                return
            await asyncio.sleep(0.05)


async def test_only_the_service_itself_is_taken_for_it(edge: Edge, tmp_path: Path):
    made, others = certificates(tmp_path / "tls"), certificates(tmp_path / "others")
    own = made.tls("gateway")
    port, user, ai, history, media = free_ports(5)
    settings = edge.settings.model_copy(
        update={
            "port": port,
            "admin_socket": free_socket(),
            "user_addresses": (f"127.0.0.1:{user}",),
            "ai_addresses": (f"127.0.0.1:{ai}",),
            "history_addresses": (f"127.0.0.1:{history}",),
            "media_addresses": (f"127.0.0.1:{media}",),
            "service_tls_certificate": own.certificate,
            "service_tls_key": own.key,
            "service_tls_authority": own.authority,
        }
    )
    assert isinstance(settings, GatewaySettings)
    async with AsyncExitStack() as stack:
        for each, shown in (
            (user, made.tls("user")),
            (ai, made.tls("user")),  # the right authority, another's name
            (history, others.tls("history")),  # the right name, another authority
            (media, None),  # no TLS
        ):
            await stack.enter_async_context(healthy_service(each, shown))
        log = stack.enter_context(envoy(settings, tmp_path))
        await ready(settings, log)
        await counted(settings, "cluster.user.health_check.success")
        await counted(settings, "cluster.ai.ssl.fail_verify_san")
        await counted(settings, "cluster.history.ssl.fail_verify_error")
        await counted(settings, "cluster.media.health_check.failure")
        channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}")
        stub: Any = health_pb2_grpc.HealthStub(await stack.enter_async_context(channel))
        found = {}
        for name in ("user", "ai", "history", "media"):
            try:
                await stub.Check(
                    health_pb2.HealthCheckRequest(),
                    metadata=(("x-parley-service", name),),
                    timeout=10,
                )
                found[name] = grpc.StatusCode.OK
            except grpc.aio.AioRpcError as error:
                found[name] = error.code()
    unavailable = grpc.StatusCode.UNAVAILABLE
    assert found == {
        "user": grpc.StatusCode.OK,
        "ai": unavailable,
        "history": unavailable,
        "media": unavailable,
    }
