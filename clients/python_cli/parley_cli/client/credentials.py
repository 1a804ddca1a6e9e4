"""Where sign-ins are kept between commands.

One file, `credentials.json`, readable by its owner alone, in the user's configuration folder
(`PARLEY_CONFIG_DIR` moves it). It is replaced in one step, so a command that dies never leaves half
a file, and a lock beside it keeps two commands from spending the same refresh token.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import platformdirs

from parley_cli.failures import CliFailure

_FILE = "credentials.json"
_VERSION = 1


@dataclass(frozen=True, slots=True)
class Credentials:
    """A sign-in at one server.

    Attributes:
        username: who is signed in.
        user_id: the account's id.
        access_token: bearer token.
        access_expires_at: when it stops working, seconds since the epoch.
        refresh_token: used once to get the next pair.
        refresh_expires_at: when that stops working, seconds since the epoch.
    """

    username: str
    user_id: str
    access_token: str
    access_expires_at: float
    refresh_token: str
    refresh_expires_at: float

    def __repr__(self) -> str:
        """Name the account only: a token never reaches a log or a traceback."""
        return f"Credentials(username={self.username!r})"


def default_config_dir() -> Path:
    """`PARLEY_CONFIG_DIR`, or the platform's configuration folder of the user."""
    configured = os.environ.get("PARLEY_CONFIG_DIR")
    if configured:
        return Path(configured).expanduser()
    return Path(platformdirs.user_config_dir("parley", appauthor=False))


class CredentialStore:
    """Sign-ins by server address.

    Args:
        folder: where the file lies; made with mode 0700 when first needed.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder if folder is not None else default_config_dir()

    @property
    def path(self) -> Path:
        """The file."""
        return self._folder / _FILE

    def load(self, server: str) -> Credentials | None:
        """Return the sign-in at `server`, or None.

        Raises:
            CliFailure: the file is there and cannot be read.
        """
        entry = self._read().get(server)
        if not isinstance(entry, dict):
            return None
        try:
            return Credentials(**entry)
        except TypeError:
            # Written by another version: signing in again repairs it.
            return None

    def save(self, server: str, credentials: Credentials) -> None:
        """Keep a sign-in, in one step."""
        servers = self._read()
        servers[server] = asdict(credentials)
        self._write(servers)

    def forget(self, server: str) -> None:
        """Drop the sign-in at `server`. Nothing happens where there is none."""
        servers = self._read()
        if servers.pop(server, None) is not None:
            self._write(servers)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the lock between commands while tokens are renewed. Blocks; hold it briefly."""
        self._make_folder()
        with (self._folder / "credentials.lock").open("w") as handle:
            _lock(handle.fileno())
            yield

    def _read(self) -> dict[str, object]:
        try:
            content = json.loads(self.path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise CliFailure(
                f"Cannot read {self.path}: {error.strerror}.",
                advice="Give it back to your user, or delete it and sign in again.",
            ) from error
        except ValueError:
            return {}
        servers = content.get("servers") if isinstance(content, dict) else None
        return dict(servers) if isinstance(servers, dict) else {}

    def _write(self, servers: dict[str, object]) -> None:
        self._make_folder()
        text = json.dumps({"version": _VERSION, "servers": servers}, indent=1)
        # mkstemp makes the file with mode 0600, so it is never readable by others, not briefly.
        descriptor, name = tempfile.mkstemp(dir=self._folder, prefix=".credentials-")
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as handle:
                handle.write(text)
                handle.flush()
                os.fsync(handle.fileno())
            Path(name).replace(self.path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise

    def _make_folder(self) -> None:
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise CliFailure(
                f"Cannot make the folder {self._folder}: {error.strerror}.",
                advice="Name another one with PARLEY_CONFIG_DIR.",
            ) from error


def _lock(descriptor: int) -> None:
    """Lock an open file until it is closed; a no-op where the platform has no flock."""
    try:
        import fcntl  # noqa: PLC0415  not there on Windows
    except ImportError:
        return
    fcntl.flock(descriptor, fcntl.LOCK_EX)
