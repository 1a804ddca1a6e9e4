"""Processes of a run that was killed before it could stop them.

Every process of a run has `PARLEY_STACK=<data folder>` in its environment. A killed launcher takes
supervisord with it, which stops the rest (see `launcher.supervisord`); only when supervisord is
killed as well does something stay, and the next start finds it by that mark.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

import psutil

MARK: Final = "PARLEY_STACK"
"""The variable that marks every process of a run with its data folder."""

# A service without live calls drains at once; one that hangs must not hold up the next start.
_TERMINATE_SECONDS = 5.0
_KILL_SECONDS = 5.0


def find(data_dir: Path) -> list[psutil.Process]:
    """Return the living processes of a run on `data_dir`, this one and its ancestors left out."""
    ours = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    found = []
    for process in psutil.process_iter():
        if process.pid in ours:
            continue
        try:
            if process.environ().get(MARK) == str(data_dir) and process.is_running():
                found.append(process)
        except (psutil.Error, OSError):
            # Another user's, or gone meanwhile: not ours to stop.
            continue
    return found


def end(processes: list[psutil.Process]) -> None:
    """Terminate the processes; kill those that do not go."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.terminate()
    _, alive = psutil.wait_procs(processes, timeout=_TERMINATE_SECONDS)
    kill(alive)


def kill(processes: list[psutil.Process]) -> None:
    """Kill the processes at once."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(processes, timeout=_KILL_SECONDS)
