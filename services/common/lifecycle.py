"""One service from its first socket to its last call.

    async with serve("user", settings, bootstrap) as running:
        await running.run_until_stopped()

starting: the port is open, health says NOT_SERVING, calls get SERVICE_STARTING.
serving: after the warm-up.
draining: health says NOT_SERVING, `runtime.draining` is set, new calls are refused, live ones get
`drain_seconds` to finish.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TypeVar

import grpc
import grpc.aio
import structlog
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import SERVICE_NAME as HEALTH_NAME
from grpc_health.v1.health import aio as health
from grpc_reflection.v1alpha import reflection

from services.common.access import PUBLIC
from services.common.auth import AccessTokenVerifier, TokenVerifier, first_of, keys_from_file
from services.common.clock import Clock, SystemClock
from services.common.channel import Peers
from services.common.interceptors.authentication import Authenticator
from services.common.interceptors.gate import Gate, Phase
from services.common.interceptors.pipeline import MethodRule, Pipeline
from services.common.jwks import keys_from_user_service
from services.common.limits import DEFAULT_LIMITS, Limits
from services.common.metrics import Metrics, metrics_endpoint
from services.common.service import Application, Background, Bootstrap, GrpcService, Runtime
from services.common.service_identity import ServiceSigner, ServiceVerifier
from services.common.settings import ServiceSettings

_log = structlog.get_logger(__name__)

_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
_SERVING = health_pb2.HealthCheckResponse.SERVING

S = TypeVar("S", bound=ServiceSettings)


class PortTaken(Exception):
    """A port is in use; the message names it and the setting that moves it."""


class BackgroundEnded(Exception):
    """A background task returned, though it is meant to run as long as the service."""


class Running:
    """A service that is up. `address` is where it listens, `metrics_port` where it is scraped."""

    def __init__(
        self,
        address: str,
        metrics_port: int,
        runtime: Runtime,
        application: Application,
        server: grpc.aio.Server,
        statuses: health.HealthServicer,
        gate: Gate,
        drain_seconds: float,
    ) -> None:
        self.address = address
        self.metrics_port = metrics_port
        self.runtime = runtime
        self._application = application
        self._server = server
        self._statuses = statuses
        self._gate = gate
        self._drain_seconds = drain_seconds
        self._stop = asyncio.Event()
        self.ready = asyncio.Event()
        """Set when the service began to serve."""

    @property
    def port(self) -> int:
        """The gRPC port."""
        return int(self.address.rpartition(":")[2])

    def stop(self) -> None:
        """Ask the service to drain and end; a second time, to end at once."""
        if self._stop.is_set():
            self._drain_seconds = 0
            asyncio.ensure_future(self._server.stop(0))  # noqa: RUF006 - the first stop awaits it
        self._stop.set()

    async def run_until_stopped(self) -> None:
        """Warm up, serve until `stop`, then drain.

        Raises:
            ExceptionGroup: the warm-up or a background task failed; the service was taken down.
        """
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(_forever(each)) for each in self._application.background]
            warming = group.create_task(self._warm_up())
            try:
                await self._stop.wait()
            finally:
                warming.cancel()
                await asyncio.shield(self._drain())
                for task in tasks:
                    task.cancel()

    async def _warm_up(self) -> None:
        if self._application.warm_up is not None:
            await self._application.warm_up()
        self._gate.phase = Phase.SERVING
        for each in ("", *(service.full_name for service in self._application.services)):
            await self._statuses.set(each, _SERVING)
        self.ready.set()
        _log.info("serving", address=self.address, metrics_port=self.metrics_port)

    async def _drain(self) -> None:
        _log.info("draining", drain_seconds=self._drain_seconds)
        self._gate.phase = Phase.STOPPING
        await self._statuses.enter_graceful_shutdown()
        self.runtime.draining.set()
        await self._server.stop(self._drain_seconds)


@asynccontextmanager
async def serve(
    name: str,
    settings: S,
    bootstrap: Bootstrap[S],
    *,
    clock: Clock | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> AsyncIterator[Running]:
    """Build the service `name` and open its ports; close everything when the block is left.

    The service is not ready until `run_until_stopped` runs; `running` does both.

    Raises:
        PortTaken: the gRPC or the metrics port is in use.
    """
    clock = clock or SystemClock()
    services_dir = settings.keys_dir / "services"
    metrics = Metrics(name)
    gate = Gate()
    async with AsyncExitStack() as stack:
        signer = await asyncio.to_thread(ServiceSigner.open, name, services_dir, clock)
        peers = await stack.enter_async_context(Peers.open(_addresses(settings), signer, limits))
        runtime = Runtime(name, clock, limits, asyncio.Event(), peers, signer, metrics)
        application = await stack.enter_async_context(bootstrap(settings, runtime))
        verifier = application.verifier or default_verifier(settings, peers, clock)
        authenticator = Authenticator(verifier, ServiceVerifier(name, services_dir, clock))
        rules = _rules(application.services, limits)
        pipeline = Pipeline(rules, authenticator, metrics, gate, limits)
        server = grpc.aio.server(
            interceptors=[pipeline],
            options=server_options(limits),
            maximum_concurrent_rpcs=limits.concurrent_calls,
        )
        statuses = await _register(server, application.services)
        port = _bind(server, settings)
        metrics_port = await stack.enter_async_context(_metrics(metrics, settings))
        await server.start()
        stack.push_async_callback(server.stop, 0)
        yield Running(
            f"{settings.host}:{port}",
            metrics_port,
            runtime,
            application,
            server,
            statuses,
            gate,
            settings.drain_seconds,
        )


@asynccontextmanager
async def running(
    name: str,
    settings: S,
    bootstrap: Bootstrap[S],
    *,
    clock: Clock | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> AsyncIterator[Running]:
    """Run a whole service inside this process, ready when the block is entered: for tests."""
    async with serve(name, settings, bootstrap, clock=clock, limits=limits) as service:
        run = asyncio.create_task(service.run_until_stopped())
        ready = asyncio.create_task(service.ready.wait())
        await asyncio.wait({run, ready}, return_when=asyncio.FIRST_COMPLETED)
        try:
            if run.done():
                await run
            yield service
        finally:
            ready.cancel()
            service.stop()
            service.stop()
            await run


def default_verifier(settings: ServiceSettings, peers: Peers, clock: Clock) -> AccessTokenVerifier:
    """Return the verifier over the user service's keys: its file when there is one, else its RPC.

    On one machine the file saves a start-up order between services; on many there is no file.
    """
    return TokenVerifier(
        first_of(keys_from_file(settings.keys_dir / "jwks.json"), keys_from_user_service(peers)),
        clock,
    )


def server_options(limits: Limits) -> list[tuple[str, int]]:
    """Return the options of the gRPC server."""
    return [
        ("grpc.max_receive_message_length", limits.max_message_bytes),
        ("grpc.max_send_message_length", limits.max_message_bytes),
        ("grpc.max_metadata_size", limits.max_metadata_bytes),
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


def _addresses(settings: ServiceSettings) -> Mapping[str, str]:
    return {
        "user": settings.user_address,
        "ai": settings.ai_address,
        "history": settings.history_address,
        "media": settings.media_address,
    }


def _rules(
    services: tuple[GrpcService, ...] | list[GrpcService], limits: Limits
) -> dict[str, MethodRule]:
    rules = {}
    for service in services:
        for method in service.descriptor.methods:
            streamed = method.client_streaming
            most = limits.max_stream_message_bytes if streamed else limits.max_message_bytes
            rules[f"/{service.full_name}/{method.name}"] = MethodRule(
                service.access[method.name],
                gated=True,
                max_message_bytes=service.message_bytes.get(method.name, most),
            )
    for descriptor, methods in (
        (health_pb2.DESCRIPTOR.services_by_name["Health"], ("Check", "Watch", "List")),
        (
            reflection._reflection_pb2.DESCRIPTOR.services_by_name["ServerReflection"],
            ("ServerReflectionInfo",),
        ),
    ):
        for each in methods:
            rules[f"/{descriptor.full_name}/{each}"] = MethodRule(
                PUBLIC, False, limits.max_message_bytes
            )
    return rules


async def _register(
    server: grpc.aio.Server, services: tuple[GrpcService, ...] | list[GrpcService]
) -> health.HealthServicer:
    statuses = health.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(statuses, server)
    for service in services:
        service.add_to(server)
        await statuses.set(service.full_name, _NOT_SERVING)
    await statuses.set("", _NOT_SERVING)
    names = [service.full_name for service in services]
    reflection.enable_server_reflection(
        [*names, HEALTH_NAME, reflection.SERVICE_NAME],
        server,
    )
    return statuses


def _bind(server: grpc.aio.Server, settings: ServiceSettings) -> int:
    try:
        port = server.add_insecure_port(f"{settings.host}:{settings.port}")
    except RuntimeError as error:
        raise _taken(settings, "port", settings.port) from error
    if port == 0:
        raise _taken(settings, "port", settings.port)
    return int(port)


@asynccontextmanager
async def _metrics(metrics: Metrics, settings: ServiceSettings) -> AsyncIterator[int]:
    async with AsyncExitStack() as stack:
        try:
            port = await stack.enter_async_context(
                metrics_endpoint(metrics.registry, settings.effective_metrics_port)
            )
        except OSError as error:
            raise _taken(settings, "metrics_port", settings.effective_metrics_port) from error
        yield port


def _taken(settings: ServiceSettings, field: str, port: int) -> PortTaken:
    return PortTaken(
        f"The {settings.service} service cannot listen on {settings.host}:{port}: "
        f"the port is in use or not allowed. Stop what uses it, or set {settings.variable(field)}."
    )


async def _forever(background: Background) -> None:
    await background()
    raise BackgroundEnded(f"{background!r} returned while the service was running")
