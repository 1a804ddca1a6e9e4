"""Single keys from the terminal while a talk runs."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def pressed_keys(on_key: Callable[[str], None]) -> Iterator[bool]:
    """Call `on_key` for each key until left; must be entered inside a running event loop.

    Yields whether keys can be read: not without a terminal, and not where termios is missing
    (Windows). Ctrl-C stays a signal. The terminal is set back on every way out.
    """
    try:
        import termios  # noqa: PLC0415  not there on Windows
        import tty  # noqa: PLC0415
    except ImportError:
        yield False
        return
    try:
        descriptor = sys.stdin.fileno()
        before = termios.tcgetattr(descriptor)
    except (OSError, ValueError, termios.error):
        yield False
        return
    loop = asyncio.get_running_loop()

    def read() -> None:
        data = os.read(descriptor, 64)
        if not data:
            loop.remove_reader(descriptor)
            return
        for key in data.decode(errors="ignore"):
            on_key(key)

    tty.setcbreak(descriptor)
    loop.add_reader(descriptor, read)
    try:
        yield True
    finally:
        loop.remove_reader(descriptor)
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
