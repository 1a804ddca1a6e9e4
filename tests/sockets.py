"""Unix sockets for what a test starts, whose paths are short enough on every system.

pytest's own folders may be too deep for one: it has 104 bytes on macOS, 108 on Linux.
"""

from __future__ import annotations

import atexit
import functools
import itertools
import shutil
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_numbers = itertools.count(1)


@functools.cache
def _folder() -> Path:
    # Of this user alone, as all that `mkdtemp` makes.
    made = tempfile.mkdtemp(prefix="parley-")
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return Path(made)


def free_socket() -> Path:
    """Return where a socket may be made: nobody else is given this path."""
    return _folder() / f"{next(_numbers)}.sock"


@contextmanager
def answering(said: bytes) -> Iterator[tuple[Path, list[bytes]]]:
    """Say `said` to the first that comes; yield where, and what it asked."""
    path, heard = free_socket(), list[bytes]()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()

        def answer() -> None:
            with listening.accept()[0] as caller:
                heard.append(caller.recv(4096))
                caller.sendall(said)

        thread = threading.Thread(target=answer)
        thread.start()
        try:
            yield path, heard
        finally:
            thread.join()
