"""Which programs run on the data folder."""

from __future__ import annotations

import platform
import sqlite3
from collections.abc import Iterator
from importlib.metadata import version

from admin.installation import Installation
from admin.looking.finding import Figures, Finding
from launcher.folder import holder_of
from launcher.supervision import State, statuses_now

_UP = (State.STARTING, State.RUNNING)


def programs(installation: Installation) -> Iterator[Finding]:
    """Yield what is found of them; where nothing runs, that is no fault."""
    yield Finding(
        "version",
        None,
        f"Parley {version('parley-server')}, Python {platform.python_version()}, "
        f"SQLite {sqlite3.sqlite_version}",
        figures={"parley": version("parley-server"), "python": platform.python_version()},
    )
    folder = installation.folder
    if folder.restoring.exists():
        yield Finding(
            "restore",
            False,
            "A backup was being restored, and that did not end.",
            "Give the same `parley admin restore` again.",
        )
    holder = holder_of(folder)
    if holder is None:
        yield Finding(
            "programs",
            None,
            f"Parley does not run on {folder.root}",
            figures={"running": 0},
        )
        return
    statuses = statuses_now(folder)
    down = [each.name for each in statuses.values() if each.state not in _UP]
    up = len(statuses) - len(down)
    figures: Figures = {
        "running": up,
        "down": ",".join(down),
        "pid": holder.pid,
        "address": holder.address,
    }
    if not statuses:
        yield Finding("programs", False, "The supervisor does not answer.", figures=figures)
    elif down:
        logs = ", ".join(str(folder.log(each)) for each in down)
        yield Finding("programs", False, f"down: {', '.join(down)}", f"See {logs}.", figures)
    else:
        yield Finding("programs", True, f"all {up} run, at {holder.address}", figures=figures)
