"""A server that speaks S3 over HTTP, for the tests; `PARLEY_TEST_S3` names a running one instead.

It keeps what it is given in memory, and takes any credentials.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Self

import boto3
import httpx

from tests.ports import free_ports

VARIABLE = "PARLEY_TEST_S3"
_START_SECONDS = 60.0


class S3Error(Exception):
    """The server did not start; the message holds what it said."""


@dataclass(slots=True)
class S3Server:
    """A server on a port of its own, which can be stopped and started again, then empty."""

    port: int
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @classmethod
    @contextmanager
    def start(cls) -> Iterator[Self]:
        """Run one for the block."""
        server = cls(*free_ports(1))
        try:
            server.up()
            yield server
        finally:
            server.down()

    @property
    def url(self) -> str:
        """Its endpoint."""
        return f"http://127.0.0.1:{self.port}"

    def up(self) -> None:
        """Start it and wait until it answers."""
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        deadline = time.monotonic() + _START_SECONDS
        while True:
            try:
                httpx.get(f"{self.url}/moto-api/", timeout=5)
            except httpx.TransportError as error:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    _, said = self._process.communicate()
                    raise S3Error(said.decode(errors="replace")) from error
                time.sleep(0.05)
            else:
                return

    def down(self) -> None:
        """End it; what it kept is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


def client(endpoint: str) -> Any:
    """Return Amazon's own client of it, by the credentials of the environment."""
    return boto3.client("s3", endpoint_url=endpoint)
