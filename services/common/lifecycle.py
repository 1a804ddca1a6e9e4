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
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, TypeVar

import grpc
import grpc.aio
import structlog
from grpc_health.v1 import health_pb2
from grpc_health.v1.health import aio as health

from services.common.auth import AccessTokenVerifier, TokenVerifier, first_of, keys_from_file
from services.common.channel import Peers
from services.common.clock import Clock, SystemClock
from services.common.grpc_server import bind, method_rules, port_taken, register, server_options
from services.common.interceptors.authentication import Authenticator
from services.common.interceptors.gate import Gate, Phase
from services.common.interceptors.pace import Pace
from services.common.interceptors.pipeline import Pipeline
from services.common.jwks import keys_from_user_service
from services.common.limits import DEFAULT_LIMITS, Limits
from services.common.metrics import Metrics, metrics_endpoint
from services.common.rates import MakeRates, own_rates
from services.common.revocation import EndingWithSignIn, ended_from_user_service
from services.common.service import Application, Background, Bootstrap, Runtime
from services.common.service_identity import ServiceSigner, ServiceVerifier
from services.common.settings import ServiceSettings

if TYPE_CHECKING:
    from services.common.redis.connection import Redis

_log = structlog.get_logger(__name__)

_SERVING = health_pb2.HealthCheckResponse.SERVING

# Drained already: this only lets the last statuses leave before the connections close.
_LAST_BYTES_SECONDS = 0.1

S = TypeVar("S", bound=ServiceSettings)


class BackgroundEndedError(Exception):
    """A background task ended without an error, though it is to run as long as the service."""


class Running:
    """A service that is up. `address` is where it listens, `metrics_port` where it is scraped."""

    def __init__(
        self,
        address: str,
        metrics_port: int,
        runtime: Runtime,
        application: Application,
        close: Callable[[], Awaitable[None]],
        statuses: health.HealthServicer,
        gate: Gate,
        drain_seconds: float,
    ) -> None:
        self.address = address
        self.metrics_port = metrics_port
        self.runtime = runtime
        self._application = application
        self._close = close
        self._statuses = statuses
        self._gate = gate
        self._drain_seconds = drain_seconds
        self._stop = asyncio.Event()
        self._hurry = asyncio.Event()
        self.ready = asyncio.Event()
        """Set when the service began to serve."""

    @property
    def port(self) -> int:
        """The gRPC port."""
        return int(self.address.rpartition(":")[2])

    def stop(self) -> None:
        """Ask the service to drain and end; a second time, to end at once."""
        if self._stop.is_set():
            self._hurry.set()
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
        _log.info("draining", live_calls=self._gate.live, drain_seconds=self._drain_seconds)
        self._gate.phase = Phase.STOPPING
        await self._statuses.enter_graceful_shutdown()
        self.runtime.draining.set()
        emptied = asyncio.create_task(self._gate.empty())
        hurried = asyncio.create_task(self._hurry.wait())
        try:
            await asyncio.wait(
                {emptied, hurried},
                timeout=self._drain_seconds,
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            emptied.cancel()
            hurried.cancel()
            await asyncio.gather(emptied, hurried, return_exceptions=True)
        _log.info("stopped", cut_calls=self._gate.live)
        await self._close()


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
        PortTakenError: the gRPC or the metrics port is in use.
        KeyFileError: a key or certificate in the files that the settings name cannot be used.
    """
    clock = clock or SystemClock()
    services_dir = settings.keys_dir / "services"
    metrics = Metrics(name)
    gate = Gate()
    async with AsyncExitStack() as stack:
        signer = await asyncio.to_thread(ServiceSigner.open, name, services_dir, clock)
        peers = await stack.enter_async_context(
            Peers.open(_addresses(settings), signer, limits, settings.service_tls)
        )
        redis = await stack.enter_async_context(_redis(settings))
        rates = await stack.enter_async_context(_rates(name, redis, clock))
        pace = Pace(limits, clock, on=settings.rate_limits, make_rates=rates)
        runtime = Runtime(
            name, clock, limits, asyncio.Event(), peers, signer, metrics, gate, pace, redis, rates
        )
        application = await stack.enter_async_context(bootstrap(settings, runtime))
        verifier = application.verifier or default_verifier(settings, runtime)
        authenticator = Authenticator(verifier, ServiceVerifier(name, services_dir, clock))
        rules = method_rules(application.services, limits)
        pipeline = Pipeline(rules, authenticator, metrics, gate, limits, pace)
        server = grpc.aio.server(
            options=server_options(limits),
            maximum_concurrent_rpcs=limits.concurrent_calls,
        )
        statuses = await register(server, application.services, pipeline)
        port = bind(server, settings)
        metrics_port = await stack.enter_async_context(_metrics(metrics, settings))
        await server.start()
        close = _once(server)
        stack.push_async_callback(close)
        yield Running(
            f"{settings.host}:{port}",
            metrics_port,
            runtime,
            application,
            close,
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


def default_verifier(settings: ServiceSettings, runtime: Runtime) -> AccessTokenVerifier:
    """Return the verifier over the user service's keys: its file when there is one, else its RPC.

    On one machine the file saves a start-up order between services; on many there is no file. Where
    there is a Redis, it refuses tokens whose sign-in is over as well.
    """
    file, peers = keys_from_file(settings.keys_dir / "jwks.json"), runtime.peers
    tokens = TokenVerifier(first_of(file, keys_from_user_service(peers)), runtime.clock)
    if runtime.redis is None:
        return tokens
    # Only where there is one: the package is no part of every installation.
    from services.common.redis.sign_ins import SignInCache  # noqa: PLC0415

    sign_ins = SignInCache(runtime.redis, ended_from_user_service(peers), runtime.clock)
    return EndingWithSignIn(tokens, sign_ins.ended, runtime.clock)


def _addresses(settings: ServiceSettings) -> Mapping[str, str]:
    return {
        "user": settings.user_address,
        "conversation": settings.conversation_address,
        "ai": settings.ai_address,
        "history": settings.history_address,
        "media": settings.media_address,
    }


@asynccontextmanager
async def _redis(settings: ServiceSettings) -> AsyncIterator[Redis | None]:
    if settings.redis_url is None:
        yield None
        return
    # Only where there is one: the package is no part of every installation.
    from services.common.redis.connection import connected  # noqa: PLC0415

    async with connected(settings.redis_url.get_secret_value()) as client:
        yield client


@asynccontextmanager
async def _rates(name: str, redis: Redis | None, clock: Clock) -> AsyncIterator[MakeRates]:
    if redis is None:
        yield own_rates
        return
    from services.common.redis.rates import SharedCounts  # noqa: PLC0415

    counts = SharedCounts(redis, name, clock)
    telling = asyncio.create_task(counts.run())
    try:
        yield counts.make
    finally:
        telling.cancel()
        await asyncio.wait({telling})


@asynccontextmanager
async def _metrics(metrics: Metrics, settings: ServiceSettings) -> AsyncIterator[int]:
    async with AsyncExitStack() as stack:
        try:
            port = await stack.enter_async_context(
                metrics_endpoint(
                    metrics.registry,
                    settings.effective_metrics_port,
                    settings.keys_dir / "jwks.json",
                )
            )
        except OSError as error:
            raise port_taken(settings, "metrics_port", settings.effective_metrics_port) from error
        yield port


async def _forever(background: Background) -> None:
    task = asyncio.current_task()
    try:
        await background()
    except asyncio.CancelledError as error:
        if task is None or task.cancelling():
            raise
        # To the group a task that was cancelled has done what it was to do.
        raise BackgroundEndedError(f"{background!r} was cancelled, by nobody here") from error
    raise BackgroundEndedError(f"{background!r} returned while the service was running")


def _once(server: grpc.aio.Server) -> Callable[[], Awaitable[None]]:
    """Return what stops `server`, the first time it is called.

    A second `stop` beside or after the first crashes the process (grpcio 1.85.1).
    """
    called = False

    async def close() -> None:
        nonlocal called
        if not called:
            called = True
            await server.stop(_LAST_BYTES_SECONDS)

    return close
