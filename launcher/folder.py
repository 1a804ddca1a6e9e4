"""The data folder: where things are in it, and whose it is while Parley runs."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from launcher.errors import AlreadyRunningError, LauncherError

# Unix sockets have addresses of at most 104 bytes on macOS and 108 on Linux, with a closing zero.
SOCKET_PATH_BYTES: Final = 103
"""The longest path of a socket that every system takes."""


@dataclass(frozen=True, slots=True)
class Folder:
    """Paths below one data folder."""

    root: Path

    @property
    def run(self) -> Path:
        """What exists only while Parley runs: rendered configurations, the sockets, the lock."""
        return self.root / "run"

    @property
    def logs(self) -> Path:
        """One rotated log a program."""
        return self.root / "logs"

    @property
    def envoy_config(self) -> Path:
        """The rendered configuration of the gateway."""
        return self.run / "envoy.yaml"

    @property
    def pages(self) -> Path:
        """The web client as it was built when Parley started."""
        return self.run / "pages"

    @property
    def supervisor_config(self) -> Path:
        """The rendered configuration of supervisord."""
        return self.run / "supervisord.conf"

    @property
    def socket(self) -> Path:
        """Where supervisord takes orders."""
        return self.run / "supervisor.sock"

    @property
    def gateway_socket(self) -> Path:
        """Where the gateway's administration takes orders."""
        return self.run / "gateway.sock"

    @property
    def lock_file(self) -> Path:
        """Locked by the launcher for as long as it lives."""
        return self.run / "launcher.lock"

    @property
    def restoring(self) -> Path:
        """There while a backup is put in place: what lies here is half of it."""
        return self.root / "restoring"

    @property
    def tls(self) -> Path:
        """The certificate made for this machine, and the authority behind it."""
        return self.root / "tls"

    @property
    def service_tls(self) -> Path:
        """The certificates of this start's programs, for TLS between them."""
        return self.run / "tls"

    def log(self, program: str) -> Path:
        """The log of one program."""
        return self.logs / f"{program}.log"

    def create(self) -> None:
        """Make the folders, readable by their owner alone.

        Raises:
            LauncherError: they cannot be made, or the path is too long for a socket.
        """
        longest = max(len(os.fsencode(each)) for each in (self.socket, self.gateway_socket))
        if longest > SOCKET_PATH_BYTES:
            raise LauncherError(
                f"The path of the data folder is too long for a Unix socket below it:\n"
                f"  {self.root}\nChoose a shorter one with PARLEY_DATA_DIR."
            )
        try:
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            for folder in (self.run, self.logs):
                folder.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise LauncherError(
                f"The data folder {self.root} cannot be made: {error.strerror}.\n"
                "Choose another with PARLEY_DATA_DIR."
            ) from error


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds the lock: the launcher's process, and where its Parley answers."""

    pid: int
    address: str
    started: float


@contextmanager
def locked(folder: Folder, address: str) -> Iterator[None]:
    """Hold the data folder. The kernel gives the lock back however this process ends.

    Raises:
        AlreadyRunningError: another launcher has it.
    """
    handle = os.open(folder.lock_file, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise AlreadyRunningError(_already_running(folder)) from error
        holder = Holder(os.getpid(), address, time.time())
        os.ftruncate(handle, 0)
        os.pwrite(handle, json.dumps(asdict(holder)).encode(), 0)
        yield
    finally:
        os.close(handle)


def holder_of(folder: Folder) -> Holder | None:
    """Return who holds the folder now; None when nobody does.

    What an ended launcher left in the file counts for nothing: only the kernel's lock does.
    """
    try:
        handle = os.open(folder.lock_file, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _read_holder(folder)
    finally:
        os.close(handle)
    return None


def _read_holder(folder: Folder) -> Holder:
    try:
        return Holder(**json.loads(folder.lock_file.read_bytes()))
    except (ValueError, TypeError):
        # Caught between taking the lock and writing the name.
        return Holder(0, "", 0.0)


def _already_running(folder: Folder) -> str:
    holder = _read_holder(folder)
    where = f" at {holder.address}" if holder.address else ""
    who = f" (process {holder.pid})" if holder.pid else ""
    return (
        f"Parley already runs{where}{who} on the data folder\n  {folder.root}\n"
        "Use that one, stop it with `python -m launcher stop`, or give this one a folder and "
        "ports of its own\n(PARLEY_DATA_DIR, PARLEY_GATEWAY_PORT, … in docs/settings.md)."
    )
