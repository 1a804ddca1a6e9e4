"""Ports for what a test starts: of a range that nobody else is given ports from.

The system takes the ports of outgoing connections from another (on Linux 32768 to 60999), and tests
that run side by side, in several workers, each from a part of this one. So a port that is free now
is free a moment later too, when what was told to listen there does.
"""

from __future__ import annotations

import itertools
import os
import socket
from collections.abc import Sequence
from contextlib import ExitStack

_FIRST, _LAST = 10_240, 32_240
_WORKERS = 5
_EACH = (_LAST - _FIRST) // _WORKERS
_ABOVE = 1_400
"""Room above the ports given out, in a worker's part, for the ports that lie above them."""

# Another process begins elsewhere.
_places = itertools.count(os.getpid() * 37)


def free_ports(count: int, each_with: Sequence[int] = ()) -> list[int]:
    """Return ports that nobody uses now, none of them given out lately.

    The ports that lie `each_with` above each of them (1,400 at most) are free as well.
    """
    worker = int("0" + "".join(filter(str.isdigit, os.environ.get("PYTEST_XDIST_WORKER", ""))))
    base = _FIRST + worker % _WORKERS * _EACH
    found: list[int] = []
    taken: set[int] = set()
    for place in itertools.islice(_places, _EACH):
        port = base + place % (_EACH - _ABOVE)
        ports = [port, *(port + above for above in each_with)]
        # One that is given out may not lie above another either.
        if taken.isdisjoint(ports) and _are_free(ports):
            taken.update(ports)
            found.append(port)
        if len(found) == count:
            return found
    raise OSError(f"no {count} ports are free from {base} on")


def _are_free(ports: Sequence[int]) -> bool:
    with ExitStack() as stack:
        try:
            for port in ports:
                probe = stack.enter_context(socket.socket())
                # As servers do: a connection that is still closing is no hindrance.
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
