"""A list of the system calls that a process may still make; the rest fail (seccomp, `man 2`).

The filter is a program for the kernel's packet filter (BPF). It looks at a call's number and, where
that matters, at one argument. What is not on the list fails with EPERM, so that a decoder which
only tries something goes on, and one that was taken over gets nowhere.
"""

from __future__ import annotations

import ctypes
import errno
import struct
from collections.abc import Iterable, Iterator
from typing import Final

from services.media.adapters import kernel

# linux/bpf_common.h, linux/seccomp.h, linux/audit.h
_LOAD: Final = 0x20  # BPF_LD | BPF_W | BPF_ABS
_IF_EQUAL: Final = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
_IF_AT_LEAST: Final = 0x35  # BPF_JMP | BPF_JGE | BPF_K
_IF_ANY_BIT: Final = 0x45  # BPF_JMP | BPF_JSET | BPF_K
_RETURN: Final = 0x06  # BPF_RET | BPF_K
_KILL: Final = 0x80000000
_FAIL: Final = 0x00050000
_ALLOW: Final = 0x7FFF0000
_SET_MODE_FILTER: Final = 1
_ALL_THREADS: Final = 1
_OFFSET_OF_NUMBER: Final = 0
_OFFSET_OF_ARCHITECTURE: Final = 4
_X32_CALLS: Final = 0x40000000

# Number of the call `seccomp` itself, and the architecture's name for the filter.
_ARCHITECTURES: Final = {"x86_64": (317, 0xC000003E), "aarch64": (277, 0xC00000B7)}

# Name: number on x86_64, number on aarch64 (None: it has no such call).
_NUMBERS: Final[dict[str, tuple[int, int | None]]] = {
    "read": (0, 63),
    "write": (1, 64),
    "open": (2, None),
    "close": (3, 57),
    "stat": (4, None),
    "fstat": (5, 80),
    "lstat": (6, None),
    "poll": (7, None),
    "lseek": (8, 62),
    "mmap": (9, 222),
    "mprotect": (10, 226),
    "munmap": (11, 215),
    "brk": (12, 214),
    "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139),
    "pread64": (17, 67),
    "pwrite64": (18, 68),
    "readv": (19, 65),
    "writev": (20, 66),
    "access": (21, None),
    "sched_yield": (24, 124),
    "mremap": (25, 216),
    "madvise": (28, 233),
    "nanosleep": (35, 101),
    "getpid": (39, 172),
    "clone": (56, 220),
    "exit": (60, 93),
    "fcntl": (72, 25),
    "fsync": (74, 82),
    "fdatasync": (75, 83),
    "truncate": (76, 45),
    "ftruncate": (77, 46),
    "rename": (82, None),
    "unlink": (87, None),
    "gettimeofday": (96, 169),
    "getrusage": (98, 165),
    "sigaltstack": (131, 132),
    "gettid": (186, 178),
    "futex": (202, 98),
    "sched_getaffinity": (204, 123),
    "set_tid_address": (218, 96),
    "restart_syscall": (219, 128),
    "fadvise64": (221, 223),
    "clock_gettime": (228, 113),
    "clock_getres": (229, 114),
    "clock_nanosleep": (230, 115),
    "exit_group": (231, 94),
    "openat": (257, 56),
    "newfstatat": (262, 79),
    "unlinkat": (263, 35),
    "renameat": (264, 38),
    "faccessat": (269, 48),
    "ppoll": (271, 73),
    "set_robust_list": (273, 99),
    "getrandom": (318, 278),
    "renameat2": (316, 276),
    "membarrier": (324, 283),
    "statx": (332, 291),
    "rseq": (334, 293),
    "clone3": (435, 435),
}

COMPUTING: Final = frozenset(
    "read write close fstat lseek mmap mprotect munmap brk rt_sigaction rt_sigprocmask"
    " rt_sigreturn pread64 pwrite64 readv writev sched_yield mremap madvise nanosleep getpid exit"
    " gettimeofday getrusage sigaltstack gettid futex sched_getaffinity restart_syscall fadvise64"
    " clock_gettime clock_getres clock_nanosleep exit_group ppoll poll getrandom membarrier".split()
)
"""What a program needs that works on files opened before: no names, no others, no new code."""

THREADS: Final = frozenset("clone clone3 set_robust_list set_tid_address rseq".split())
"""To begin threads, which are no processes."""

FILES: Final = frozenset(
    "open openat stat lstat newfstatat statx access faccessat fcntl fsync fdatasync truncate"
    " ftruncate rename renameat renameat2 unlink unlinkat".split()
)
"""To open, sync, rename and delete files by their names."""

_PROT_EXEC: Final = 4
_CLONE_THREAD: Final = 0x00010000

# Calls that are allowed only with a bit of one argument set, or unset: (argument, bit, as it must
# be). Memory that is both written and run is what an intruder wants first.
_CONDITIONS: Final = {
    "mmap": (2, _PROT_EXEC, False),
    "mprotect": (2, _PROT_EXEC, False),
    "clone": (0, _CLONE_THREAD, True),
}

# The filter cannot look into the structure that this one takes; the C library then uses `clone`.
_NOT_THERE: Final = frozenset({"clone3"})


def restrict(allowed: Iterable[str]) -> None:
    """Have every thread of this process make no other calls than `allowed`, for good.

    Raises:
        OSError: the kernel has no such filters, or not on this kind of processor.
    """
    known = _ARCHITECTURES.get(kernel.machine())
    if known is None:
        raise OSError(errno.ENOSYS, "no list of system calls for this kind of processor")
    seccomp, _ = known
    code = program(allowed, kernel.machine())
    buffer = ctypes.create_string_buffer(code, len(code))
    filter_ = struct.pack("@HxxxxxxQ", len(code) // 8, ctypes.addressof(buffer))
    kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
    kernel.syscall(seccomp, _SET_MODE_FILTER, _ALL_THREADS, ctypes.c_char_p(filter_))


def program(allowed: Iterable[str], machine: str) -> bytes:
    """Return the filter that lets `allowed` pass on a kind of processor, as the kernel reads it."""
    index = list(_ARCHITECTURES).index(machine)
    steps = [
        _step(_LOAD, _OFFSET_OF_ARCHITECTURE),
        _step(_IF_EQUAL, _ARCHITECTURES[machine][1], 1, 0),
        _step(_RETURN, _KILL),
        _step(_LOAD, _OFFSET_OF_NUMBER),
    ]
    if machine == "x86_64":
        # The same calls by other numbers: the list would not hold for them.
        steps += [_step(_IF_AT_LEAST, _X32_CALLS, 0, 1), _step(_RETURN, _KILL)]
    for name in sorted(allowed):
        number = _NUMBERS[name][index]
        if number is not None:
            steps += _judged(name, number)
    steps.append(_step(_RETURN, _FAIL | errno.EPERM))
    return b"".join(steps)


def _judged(name: str, number: int) -> Iterator[bytes]:
    if name in _NOT_THERE:
        yield _step(_IF_EQUAL, number, 0, 1)
        yield _step(_RETURN, _FAIL | errno.ENOSYS)
        return
    condition = _CONDITIONS.get(name)
    if condition is None:
        yield _step(_IF_EQUAL, number, 0, 1)
        yield _step(_RETURN, _ALLOW)
        return
    argument, bit, must_be_set = condition
    yield _step(_IF_EQUAL, number, 0, 4)
    # The low half of a 64-bit argument; both processors keep it first.
    yield _step(_LOAD, 16 + 8 * argument)
    yield _step(_IF_ANY_BIT, bit, *((0, 1) if must_be_set else (1, 0)))
    yield _step(_RETURN, _ALLOW)
    yield _step(_RETURN, _FAIL | errno.EPERM)


def _step(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)
