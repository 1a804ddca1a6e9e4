"""Prometheus metrics of a service, over HTTP on loopback; beside them, the published keys."""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from itertools import accumulate
from pathlib import Path

from prometheus_client import (
    CollectorRegistry,
    Gauge,
    Metric,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from services.common.codes import Code

# A `_created` series beside every counter doubles the page, and nobody reads it.
disable_created_metrics()  # type: ignore[no-untyped-call]

# From a cached read (1 ms) to a long call's deadline.
_LATENCY_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 120)

# A scrape is one short GET; whatever sends more is not a scraper.
_MAX_REQUEST_BYTES = 8 * 1024
_REQUEST_TIMEOUT_SECONDS = 5.0


class Metrics:
    """A service's registry, with the metrics that every call feeds.

    A service adds its own with `Counter(..., registry=metrics.registry)`. Labels must be bounded:
    names of methods, codes, engines; never ids or users.
    """

    def __init__(self, service: str) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        Gauge(
            "parley_service",
            "1, labelled with the service's name.",
            ["name"],
            registry=self.registry,
        ).labels(service).set(1)
        tasks = Gauge("parley_tasks", "Tasks of the event loop.", registry=self.registry)
        # Asked on the loop, which serves the page.
        tasks.set_function(lambda: len(asyncio.all_tasks()) if _on_a_loop() else 0)
        self._calls = _Calls()
        self.registry.register(self._calls)

    def method(self, name: str) -> MethodMetrics:
        """Return what counts the calls of one method. Looked up once a method, not once a call."""
        return self._calls.methods.setdefault(name, MethodMetrics())


class MethodMetrics:
    """What is known of the calls of one method. For the event loop's thread alone.

    Plain numbers, read when somebody scrapes: the client library's metrics take a lock for each
    change, and five changes a call are a tenth of a small call's whole cost.
    """

    __slots__ = ("by_bucket", "by_code", "in_flight", "seconds")

    def __init__(self) -> None:
        self.in_flight = 0
        self.seconds = 0.0
        self.by_code: dict[Code, int] = {}
        # Calls as long as a bucket's bound at most, and the bound before at least; then the rest.
        self.by_bucket = [0] * (len(_LATENCY_BUCKETS) + 1)

    def started(self) -> None:
        """Count a call that begins."""
        self.in_flight += 1

    def ended(self, code: Code, seconds: float) -> None:
        """Count the same call at its end."""
        self.in_flight -= 1
        self.seconds += seconds
        self.by_bucket[bisect_left(_LATENCY_BUCKETS, seconds)] += 1
        self.by_code[code] = self.by_code.get(code, 0) + 1


class _Calls(Collector):
    """Every method's calls, in the form that a scrape asks for."""

    def __init__(self) -> None:
        self.methods: dict[str, MethodMetrics] = {}

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics of all methods."""
        handled = CounterMetricFamily(
            "parley_rpc_handled",
            "Calls ended, by method and status code.",
            labels=["method", "code"],
        )
        seconds = HistogramMetricFamily(
            "parley_rpc_seconds", "Time from a call's arrival to its end.", labels=["method"]
        )
        in_flight = GaugeMetricFamily(
            "parley_rpc_in_flight", "Calls in progress.", labels=["method"]
        )
        for name, method in self.methods.items():
            for code, count in method.by_code.items():
                handled.add_metric([name, code.name], count)
            counts = accumulate(method.by_bucket)
            bounds = (*map(floatToGoString, _LATENCY_BUCKETS), "+Inf")
            seconds.add_metric([name], list(zip(bounds, counts, strict=True)), method.seconds)
            in_flight.add_metric([name], method.in_flight)
        yield from (handled, seconds, in_flight)


@asynccontextmanager
async def metrics_endpoint(
    registry: CollectorRegistry, port: int, jwks: Path | None = None
) -> AsyncIterator[int]:
    """Serve `GET /metrics` on loopback until the block is left; yield the port.

    `GET /jwks.json` gives the file `jwks` where there is one: the gateway, which verifies access
    tokens too, speaks no gRPC of its own.

    Raises:
        OSError: the port is taken.
    """

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_REQUEST_TIMEOUT_SECONDS):
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(_response(head, registry, jwks))
                await writer.drain()
        except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # The scraper went away or is none: there is nobody to tell.
        finally:
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", port, limit=_MAX_REQUEST_BYTES)
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:
        server.close()
        await server.wait_closed()


def _on_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _response(head: bytes, registry: CollectorRegistry, jwks: Path | None) -> bytes:
    method, _, rest = head.partition(b" ")
    path = rest.partition(b" ")[0].partition(b"?")[0]
    if method == b"GET" and path == b"/metrics":
        return _found(CONTENT_TYPE_LATEST, generate_latest(registry))
    if method == b"GET" and path == b"/jwks.json" and jwks is not None and jwks.is_file():
        return _found("application/json", jwks.read_bytes())
    return b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


def _found(content_type: str, body: bytes) -> bytes:
    lines = (
        "HTTP/1.1 200 OK",
        f"Content-Type: {content_type}",
        f"Content-Length: {len(body)}",
        "Connection: close",
    )
    return "\r\n".join((*lines, "", "")).encode() + body
