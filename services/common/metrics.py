"""Prometheus metrics of a service, over HTTP on loopback; beside them, the published keys."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

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
        self._handled = Counter(
            "parley_rpc_handled_total",
            "Calls ended, by method and status code.",
            ["method", "code"],
            registry=self.registry,
        )
        self._seconds = Histogram(
            "parley_rpc_seconds",
            "Time from a call's arrival to its end.",
            ["method"],
            buckets=_LATENCY_BUCKETS,
            registry=self.registry,
        )
        self._in_flight = Gauge(
            "parley_rpc_in_flight", "Calls in progress.", ["method"], registry=self.registry
        )

    def method(self, name: str) -> MethodMetrics:
        """Return what counts the calls of one method. Looked up once a method, not once a call."""
        return MethodMetrics(name, self._handled, self._seconds, self._in_flight)


class MethodMetrics:
    """The metrics of one method, its labels bound."""

    __slots__ = ("_by_code", "_handled", "_in_flight", "_method", "_seconds")

    def __init__(self, method: str, handled: Counter, seconds: Histogram, in_flight: Gauge) -> None:
        self._method = method
        self._handled = handled
        self._seconds = seconds.labels(method)
        self._in_flight = in_flight.labels(method)
        self._by_code: dict[Code, Counter] = {}

    def started(self) -> None:
        """Count a call that begins."""
        self._in_flight.inc()

    def ended(self, code: Code, seconds: float) -> None:
        """Count the same call at its end."""
        self._in_flight.dec()
        self._seconds.observe(seconds)
        counter = self._by_code.get(code)
        if counter is None:
            counter = self._by_code[code] = self._handled.labels(self._method, code.name)
        counter.inc()


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
