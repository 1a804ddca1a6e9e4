"""A second door to a Parley that speaks TLS: plain HTTP, which `make run` opens where nobody asks.

The same gateway with the same page before the same services, so that one run measures both.
"""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.child_server import stop
from gateway.binary import envoy_path
from gateway.render import render
from gateway.routes import SERVICES
from gateway.settings import GatewaySettings
from launcher.readiness import healthy
from tests.ports import free_ports
from tests.stack import Stack

_READY_WITHIN_S = 30.0
_POLL_S = 0.1


class DoorError(Exception):
    """The door did not open; the message has what Envoy said."""


@contextmanager
def plain_door(stack: Stack, folder: Path) -> Iterator[int]:
    """Yield the port of a gateway without TLS before the services of `stack`.

    Raises:
        DoorError: it did not get ready.
    """
    (port,) = free_ports(1)
    addresses: dict[str, Any] = {
        f"{name}_addresses": (f"127.0.0.1:{stack.service_ports[name]}",) for name in SERVICES
    }
    settings = GatewaySettings(
        port=port,
        conversation_websocket_addresses=(f"127.0.0.1:{stack.websocket_port}",),
        jwks_address=f"127.0.0.1:{stack.environment['PARLEY_USER_METRICS_PORT']}",
        web_dir=Path(stack.environment["PARLEY_GATEWAY_WEB_DIR"]),
        **addresses,
    )
    config, log = folder / "plain-envoy.yaml", folder / "plain-envoy.log"
    config.write_text(render(settings), "utf-8")
    # As launcher/programs.py starts it, and in the session of the other one.
    command = [str(envoy_path()), "-c", str(config), "--concurrency", str(settings.workers)]
    with log.open("w") as output:
        process = subprocess.Popen(
            [*command, "--log-level", "warning", "--disable-hot-restart"],
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            _wait_until_healthy(f"127.0.0.1:{port}", log)
            yield port
        finally:
            stop(process)


def _wait_until_healthy(address: str, log: Path) -> None:
    deadline = time.monotonic() + _READY_WITHIN_S
    while not all(asyncio.run(healthy(address, name)) for name in SERVICES):
        if time.monotonic() > deadline:
            raise DoorError(f"the door without TLS did not open:\n{log.read_text('utf-8')}")
        time.sleep(_POLL_S)
