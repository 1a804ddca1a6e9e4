"""supervisord, bound to the life of its launcher: `python -m launcher.supervisord FD CONFIG`.

FD is the reading end of a pipe whose writing end only the launcher holds. When the launcher goes,
in whatever way, the kernel closes it; supervisord then stops everything and ends. This needs no
polling, works on every Unix, and no other process can be mistaken for the launcher.
"""

from __future__ import annotations

import os
import signal
import sys
import threading

from supervisor import supervisord


def main(arguments: list[str]) -> None:
    """Watch the launcher, and run supervisord in the foreground."""
    pipe, config = int(arguments[0]), arguments[1]
    os.set_inheritable(pipe, False)
    threading.Thread(target=_end_with_launcher, args=(pipe,), daemon=True).start()
    supervisord.main(["--nodaemon", "--configuration", config])


def _end_with_launcher(pipe: int) -> None:
    # Nothing is ever written: reading ends when the last writer is gone.
    os.read(pipe, 1)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main(sys.argv[1:])
