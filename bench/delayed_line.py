"""A network that is farther away: a line on loopback whose every byte comes later.

    with delayed_line(8443, delay_ms=40) as port: ...

Each direction is late by `delay_ms`, so a round trip by twice as much. Bytes keep their order and
lose nothing, and the line is as wide as the machine: only distance is added, neither loss nor
congestion. It runs in a thread with a loop of its own, so that what is measured beside it does not
wait for it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from tests.fault.line import line_beside


@contextlib.contextmanager
def delayed_line(to_port: int, delay_ms: float) -> Iterator[int]:
    """Yield the port of a line to `to_port` on which every byte is `delay_ms` late, each way."""
    with line_beside(to_port, latency_s=delay_ms / 1000) as (_, near_port):
        yield near_port
