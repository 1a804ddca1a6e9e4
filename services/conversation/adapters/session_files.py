"""Claims for the processes of one machine: a locked file a session.

The kernel gives a lock back when its process ends, so a claim is never left behind. The file says
who holds it, for the processes that ask; what it says counts only while it is locked.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import structlog

from services.common.ids import new_id
from services.conversation.claims import HeldElsewhereError

_log = structlog.get_logger(__name__)

# What is written of a holder takes a hundred bytes.
_MAX_BYTES = 4096


@dataclass(slots=True)
class _Held:
    handle: int
    times: int = 1


class SessionFiles:
    """Files in `folder`, named after their conversations.

    Args:
        folder: shared by the processes; made where it is missing.
        way: what leads a client to this process, told to those who come to another.
    """

    def __init__(self, folder: Path, way: Mapping[str, str]) -> None:
        self._folder = folder
        self._way = json.dumps(dict(way)).encode()
        self._held: dict[str, _Held] = {}
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._sweep()

    def take(self, conversation_id: str) -> None:
        """See `Locks`."""
        held = self._held.get(conversation_id)
        if held is not None:
            held.times += 1
            return
        handle = self._lock(self._path(conversation_id))
        os.ftruncate(handle, 0)
        os.pwrite(handle, self._way, 0)
        self._held[conversation_id] = _Held(handle)

    def give_back(self, conversation_id: str) -> bool:
        """See `Locks`."""
        held = self._held[conversation_id]
        held.times -= 1
        if held.times:
            return False
        del self._held[conversation_id]
        # Before the lock goes: whoever opens the path from now on makes a file of his own.
        self._path(conversation_id).unlink(missing_ok=True)
        os.close(held.handle)
        return True

    def _path(self, conversation_id: str) -> Path:
        # An id comes from a client's handle: as a UUID it cannot lead out of the folder.
        return self._folder / str(UUID(conversation_id))

    def _lock(self, path: Path) -> int:
        """Open and lock a file.

        Raises:
            HeldElsewhereError: it is locked.
        """
        while True:
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if _is_at(handle, path):
                    return handle
            except BlockingIOError:
                error = HeldElsewhereError(_read_way(handle))
                os.close(handle)
                raise error from None
            except BaseException:
                os.close(handle)
                raise
            # Its holder took it away between our opening and our locking it.
            os.close(handle)

    def _sweep(self) -> None:
        """Take away what killed processes left. Nothing depends on it."""
        for path in self._folder.iterdir():
            with suppress(HeldElsewhereError, OSError):
                handle = self._lock(path)
                path.unlink(missing_ok=True)
                os.close(handle)


def place_id(folder: Path) -> str:
    """Return the id of a folder that processes share, which the first of them gives it."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = folder / "place-id"
    # Linked, not written: who finds the file finds an id in it.
    draft = folder / f"place-id.{os.getpid()}"
    draft.write_text(new_id(), "ascii")
    with suppress(FileExistsError):
        os.link(draft, file)
    draft.unlink()
    return file.read_text("ascii")


def way_to(host: str, port: int, websocket_port: int) -> dict[str, str]:
    """Return what leads a client to the process with these ports: affinities for the gateway.

    Empty where the process does not know how the gateway calls it.
    """
    if host in ("0.0.0.0", "::") or not port:  # noqa: S104 - compared only
        return {}
    return {
        "affinity": _affinity(host, port),
        "websocket_affinity": _affinity(host, websocket_port),
    }


def _affinity(host: str, port: int) -> str:
    """Return what Envoy's header session calls an upstream: base64 of its address."""
    return base64.b64encode(f"{host}:{port}".encode()).decode()


def _is_at(handle: int, path: Path) -> bool:
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(handle), path.stat())
    return False


def _read_way(handle: int) -> dict[str, str]:
    try:
        found = json.loads(os.pread(handle, _MAX_BYTES, 0))
    except ValueError:
        # Caught between locking and writing.
        return {}
    return {str(key): str(value) for key, value in found.items()}
