"""The few calls of Linux that Python has no function for."""

from __future__ import annotations

import ctypes
import os
import platform
import sys

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_NO_NEW_PRIVS = 38
"""`linux/prctl.h`."""

_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def is_linux() -> bool:
    """Tell whether these calls are there at all."""
    return _libc is not None


def machine() -> str:
    """Return the processor's architecture, as Linux names it."""
    return platform.machine()


def prctl(option: int, value: int) -> None:
    """Set an attribute of this process.

    Raises:
        OSError: the kernel refuses, or is not Linux.
    """
    _checked("prctl", option, value, 0, 0, 0)


def unshare(flags: int) -> None:
    """Leave namespaces that this process shares.

    Raises:
        OSError: the kernel refuses, or is not Linux.
    """
    _checked("unshare", flags)


def syscall(number: int, *arguments: object) -> int:
    """Make a system call by its number; return what it returns.

    Raises:
        OSError: it failed, or the kernel is not Linux.
    """
    return _checked("syscall", ctypes.c_long(number), *arguments)


def _checked(name: str, *arguments: object) -> int:
    if _libc is None:
        raise OSError(f"{name}: not on this system")
    # Without a type, ctypes passes an int as 32 bits, and these take unsigned long.
    sized = [ctypes.c_ulong(each) if isinstance(each, int) else each for each in arguments]
    result = int(getattr(_libc, name)(*sized))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}")
    return result
