"""Puts a process that works on strangers' bytes behind barriers, before it sees the first of them.

    sandbox.alone(parent)                 # before anything large is imported
    import …; sandbox.preload(av)         # and files opened
    lacking = sandbox.enclose(bounds)     # then the work

Each barrier stands by itself, so that a process which gets past one still meets the others:

- `network`: a network namespace of its own, in which there is not even loopback;
- `files`: by Landlock, no file can be opened, whatever its name;
- `calls`: by seccomp, no socket, process, program or executable memory can be made;
- `limits`: of memory, time, disk, open files and processes.

What this system does not have is told, not silently left out: the service logs it at its start.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import resource
import signal
from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Final

from services.media.adapters import kernel, landlock, seccomp

BARRIERS: Final = ("network", "files", "calls", "limits")
"""Their names, as the log and the metrics have them."""

_NEW_USER: Final = 0x10000000
_NEW_NETWORK: Final = 0x40000000
"""`linux/sched.h`."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a process may use.

    memory_bytes: of address space, most of which is code.
    cpu_seconds: of all its threads together, past which the kernel ends it; 0: no bound.
    file_bytes: of each file that it writes; 0: no bound.
    open_files: at once, with those that it has.
    """

    memory_bytes: int
    cpu_seconds: int = 0
    file_bytes: int = 0
    open_files: int = 64


_lacking: set[str] = set()


def alone(parent: int) -> None:
    """Cut this process off from the network, and have it end with `parent`, which began it.

    To be called while it has one thread only: with more, Linux refuses.
    """
    _try("network", _leave_network)
    if kernel.is_linux():
        # After the namespaces: whoever enters one is asked again what to do then.
        kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
        # No core file, and no other process of the same user looks into its memory.
        kernel.prctl(kernel.PR_SET_DUMPABLE, 0)
    if os.getppid() != parent:
        raise SystemExit("whoever began this process is gone")


def preload(package: ModuleType, without: Container[str] = ()) -> None:
    """Import all of a package that imports its parts when they are first used: then it is late.

    Args:
        package: whose modules are imported, but for its `__main__`, which is a program.
        without: the names of modules that are not, of which nothing is ever used.
    """
    for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        if not found.name.endswith("__main__") and found.name not in without:
            importlib.import_module(found.name)


def enclose(
    bounds: Bounds, *, folders: Iterable[Path] = (), threads: bool = False
) -> tuple[str, ...]:
    """Put this process behind its barriers, for good; return those that this system lacks.

    Args:
        bounds: what it may use.
        folders: in which it may still open, make and delete files; none by default.
        threads: whether it may begin threads.
    """
    reachable = tuple(folders)
    calls = seccomp.COMPUTING
    if threads:
        calls |= seccomp.THREADS
    if reachable:
        calls |= seccomp.FILES
    _try("limits", lambda: _limit(bounds, threads=threads))
    _try("files", lambda: landlock.restrict(reachable))
    # Last: it forbids what the others are made with.
    _try("calls", lambda: seccomp.restrict(calls))
    return tuple(each for each in BARRIERS if each in _lacking)


def _try(barrier: str, put_up: Callable[[], None]) -> None:
    try:
        put_up()
    except (OSError, ValueError):
        # Not on this system, or not allowed to this user: the other barriers stand.
        _lacking.add(barrier)


def _leave_network() -> None:
    try:
        # Where every user may have namespaces, this one loses whatever rights it had outside.
        kernel.unshare(_NEW_USER | _NEW_NETWORK)
    except OSError:
        kernel.unshare(_NEW_NETWORK)


def _limit(bounds: Bounds, *, threads: bool) -> None:
    limits = [
        (resource.RLIMIT_AS, bounds.memory_bytes),
        (resource.RLIMIT_NOFILE, bounds.open_files),
        (resource.RLIMIT_CORE, 0),
    ]
    if bounds.cpu_seconds:
        limits.append((resource.RLIMIT_CPU, bounds.cpu_seconds))
    if bounds.file_bytes:
        limits.append((resource.RLIMIT_FSIZE, bounds.file_bytes))
    if not threads:
        # To Linux a thread is a process of the user's as well.
        limits.append((resource.RLIMIT_NPROC, 0))
    refused: OSError | ValueError | None = None
    for kind, most in limits:
        hard = resource.getrlimit(kind)[1]
        # What a container has less of, an ordinary user cannot raise.
        bound = most if hard == resource.RLIM_INFINITY else min(most, hard)
        try:
            resource.setrlimit(kind, (bound, bound))
        except (OSError, ValueError) as error:
            # The others stand.
            refused = error
    if refused is not None:
        raise refused
