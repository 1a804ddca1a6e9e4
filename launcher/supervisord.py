"""supervisord, bound to the life of its launcher: `python -m launcher.supervisord FD CONFIG`.

FD is the reading end of a pipe whose writing end only the launcher holds. When the launcher goes,
in whatever way, the kernel closes it; supervisord then stops everything and ends. This needs no
polling, works on every Unix, and no other process can be mistaken for the launcher.

A log that cannot be written costs its lines, and nothing else: see `spare_the_programs`.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

from supervisor import loggers, supervisord


def main(arguments: list[str]) -> None:
    """Watch the launcher, and run supervisord in the foreground."""
    pipe, config = int(arguments[0]), arguments[1]
    os.set_inheritable(pipe, False)
    threading.Thread(target=_end_with_launcher, args=(pipe,), daemon=True).start()
    spare_the_programs()
    supervisord.main(["--nodaemon", "--configuration", config])


def spare_the_programs() -> None:
    """Have supervisord outlive a full disk.

    By itself it tells of a log's failure on its error output, which is a file on the same disk:
    that fails as well, ends supervisord, and so every program, while people talk.
    """
    loggers.Handler.handleError = _lose_the_line
    loggers.RotatingFileHandler.doRollover = _roll_over_if_possible


def _lose_the_line(_handler: loggers.Handler) -> None:
    """Tell nobody: there is nowhere to."""


def _roll_over_if_possible(
    handler: loggers.RotatingFileHandler, roll_over: Any = loggers.RotatingFileHandler.doRollover
) -> None:
    try:
        roll_over(handler)
    except (OSError, ValueError):
        # Broken off between closing one file and opening the next: the old one goes on.
        with suppress(OSError):
            handler.stream = Path(handler.baseFilename).open("ab")  # noqa: SIM115


def _end_with_launcher(pipe: int) -> None:
    # Nothing is ever written: reading ends when the last writer is gone.
    os.read(pipe, 1)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main(sys.argv[1:])
