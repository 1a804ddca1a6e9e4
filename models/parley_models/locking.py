"""A lock between processes, held while a model is put in place.

Two `parley models fetch` at once, or a fetch beside `make run`, are ordinary; the second waits
for the first and then finds the work done.
"""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def file_lock(path: Path, on_wait: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Holds an exclusive lock on `path`, made if absent; calls `on_wait` once if it is taken.

    The lock is the kernel's (flock), so it ends with the process however that ends. The file
    stays: removing it would let a third process lock a new file of the same name while the
    second still holds the old one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            on_wait()
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
