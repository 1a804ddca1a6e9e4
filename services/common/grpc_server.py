"""The gRPC server itself: options, standard services, ports."""

from __future__ import annotations

import socket
from collections.abc import Sequence

import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import SERVICE_NAME as HEALTH_NAME
from grpc_health.v1.health import aio as health
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc

from services.common.access import PUBLIC
from services.common.interceptors.pipeline import MethodRule, Pipeline
from services.common.limits import Limits
from services.common.service import GrpcService
from services.common.settings import ServiceSettings

_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING

# What answers from the first moment to the last, and to anybody.
_OPEN_METHODS = (
    f"/{HEALTH_NAME}/Check",
    f"/{HEALTH_NAME}/Watch",
    f"/{HEALTH_NAME}/List",
    f"/{reflection.SERVICE_NAME}/ServerReflectionInfo",
)


class PortTakenError(Exception):
    """A port is in use; the message names it and the setting that moves it."""


def server_options(limits: Limits) -> list[tuple[str, int]]:
    """Return the options of the gRPC server."""
    return [
        ("grpc.max_receive_message_length", limits.max_message_bytes),
        ("grpc.max_send_message_length", limits.max_message_bytes),
        # gRPC refuses at its bound, and without the second line at random up to a quarter above.
        ("grpc.max_metadata_size", limits.max_metadata_bytes + 1),
        ("grpc.absolute_max_metadata_size", limits.max_metadata_bytes + 1),
        # Two processes on one port would share its calls at random.
        ("grpc.so_reuseport", 0),
        # Clients on mobile networks ping to keep their way open, also between calls.
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
        # A client that vanished is noticed after 30 + 10 s, and its session can be resumed.
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.http2.max_pings_without_data", 0),
    ]


def method_rules(services: Sequence[GrpcService], limits: Limits) -> dict[str, MethodRule]:
    """Return the rule of every method that the server will have, by full method name."""
    rules = {}
    for service in services:
        for method in service.descriptor.methods:
            streamed = method.client_streaming
            most = limits.max_stream_message_bytes if streamed else limits.max_message_bytes
            rules[f"/{service.full_name}/{method.name}"] = MethodRule(
                service.access[method.name],
                gated=True,
                max_message_bytes=service.message_bytes.get(method.name, most),
                while_draining=method.name in service.while_draining,
            )
    for name in _OPEN_METHODS:
        most = limits.max_open_message_bytes
        rules[name] = MethodRule(PUBLIC, gated=False, max_message_bytes=most)
    return rules


async def register(
    server: grpc.aio.Server, services: Sequence[GrpcService], pipeline: Pipeline
) -> health.HealthServicer:
    """Add `services`, health (NOT_SERVING for each) and reflection; return what sets health."""
    wrapping = pipeline.around(server)
    statuses = health.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(statuses, wrapping)
    for service in services:
        service.add_to(wrapping)
        await statuses.set(service.full_name, _NOT_SERVING)
    await statuses.set("", _NOT_SERVING)
    names = [HEALTH_NAME, reflection.SERVICE_NAME, *(each.full_name for each in services)]
    reflection_pb2_grpc.add_ServerReflectionServicer_to_server(  # type: ignore[no-untyped-call]
        reflection.aio.ReflectionServicer(names), wrapping
    )
    return statuses


def bind(server: grpc.aio.Server, settings: ServiceSettings) -> int:
    """Open the gRPC port; return it, worked out when the setting is 0.

    Raises:
        PortTakenError: it is in use or not allowed.
        KeyFileError: the files of TLS between services cannot be used.
    """
    tls = settings.service_tls
    credentials = tls.server_credentials() if tls else None
    if settings.port:
        _check_free(settings)
    address = f"{settings.host}:{settings.port}"
    try:
        if credentials is None:
            port = server.add_insecure_port(address)
        else:
            port = server.add_secure_port(address, credentials)
    except RuntimeError as error:
        raise port_taken(settings, "port", settings.port) from error
    if port == 0:
        raise port_taken(settings, "port", settings.port)
    return int(port)


def _check_free(settings: ServiceSettings) -> None:
    """Try the port first: gRPC would write lines of its own about a taken one."""
    try:
        found = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)
        for family, kind, protocol, _, address in found[:1]:
            with socket.socket(family, kind, protocol) as probe:
                # As gRPC does: a connection of the last run, still closing, is no hindrance.
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(address)
    except OSError as error:
        raise port_taken(settings, "port", settings.port) from error


def port_taken(settings: ServiceSettings, field: str, port: int) -> PortTakenError:
    """Return the error that names `port` and the setting `field` that moves it."""
    return PortTakenError(
        f"The {settings.service} service cannot listen on {settings.host}:{port}: "
        f"the port is in use or not allowed. Stop what uses it, or set {settings.variable(field)}."
    )
