"""A server that a benchmark starts as a process of its own and stops again.

The process prints `ready PORT` on a line of its own when it serves, whatever it prints before.
"""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

_STOP_TIMEOUT_S = 10.0


class NotReadyError(Exception):
    """A server ended, or its time was over, before it was ready."""


@dataclass(frozen=True, slots=True)
class ChildServer:
    """A running server: where it listens on loopback, and its process."""

    port: int
    pid: int


@contextmanager
def running_child(
    command: Sequence[str],
    ready_timeout_s: float,
    *,
    environment: Mapping[str, str] | None = None,
    own_session: bool = False,
) -> Iterator[ChildServer]:
    """Run `command` from the repository's root until the block ends.

    own_session: in a session of its own. Linux shares out busy cores by session (autogroup), so a
        server that is compared with one in another session must not sit in the load's.

    Raises:
        NotReadyError: it did not get ready.
    """
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=own_session,
    )
    try:
        yield ChildServer(_ready_port(process, ready_timeout_s), process.pid)
    finally:
        stop(process)
        if process.stdout is not None:
            process.stdout.close()


def stop(process: subprocess.Popen[str]) -> None:
    """End the process: asked first, then killed."""
    process.terminate()
    try:
        process.wait(_STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _ready_port(process: subprocess.Popen[str], timeout_s: float) -> int:
    watchdog = threading.Timer(timeout_s, process.kill)
    watchdog.start()
    try:
        assert process.stdout is not None
        for line in process.stdout:
            word, _, port = line.strip().partition(" ")
            if word == "ready":
                return int(port)
    finally:
        watchdog.cancel()
    raise NotReadyError("the server ended before it was ready")
