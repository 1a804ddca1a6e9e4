"""The folders that a process may still reach (Landlock, `man 7`); everything else is refused."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from services.media.adapters import kernel

# The same numbers on every kind of processor.
_CREATE_RULESET: Final = 444
_ADD_RULE: Final = 445
_RESTRICT_SELF: Final = 446
_ASK_VERSION: Final = 1
_PATH_BENEATH: Final = 1

# Rights by the version of Landlock that knows them first (linux/landlock.h).
_FILE_RIGHTS: Final = {1: (1 << 13) - 1, 2: 1 << 13, 3: 1 << 14, 5: 1 << 15}
_NET_RIGHTS: Final = {4: 3}  # to bind and to connect TCP sockets
_SCOPES: Final = {6: 3}  # abstract sockets and signals to others

# Of a program's file: nothing here is ever run.
_EXECUTE: Final = 1


def restrict(folders: Iterable[Path] = ()) -> None:
    """Leave this process `folders`, with all in them but to run it, and no TCP, for good.

    Raises:
        OSError: the kernel has no Landlock, or a folder is not there.
    """
    version = kernel.syscall(_CREATE_RULESET, None, 0, _ASK_VERSION)
    files = _known(_FILE_RIGHTS, version)
    ruleset = struct.pack("=QQQ", files, _known(_NET_RIGHTS, version), _known(_SCOPES, version))
    # An older kernel takes only as much of the structure as it knows.
    size = 8 if version < 4 else 16 if version < 6 else 24
    descriptor = kernel.syscall(_CREATE_RULESET, ruleset, size, 0)
    try:
        for folder in folders:
            opened = os.open(folder, os.O_PATH)
            try:
                rule = struct.pack("=Qi", files & ~_EXECUTE, opened)
                kernel.syscall(_ADD_RULE, descriptor, _PATH_BENEATH, rule, 0)
            finally:
                os.close(opened)
        kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
        kernel.syscall(_RESTRICT_SELF, descriptor, 0)
    finally:
        os.close(descriptor)


def _known(rights: dict[int, int], version: int) -> int:
    return sum(bits for since, bits in rights.items() if since <= version)
