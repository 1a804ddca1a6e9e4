"""What the person sees while Parley starts: a live list on a terminal, lines elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final, TextIO

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from launcher.readiness import Phase, Progress

_MARKS: Final = {
    Phase.WAITING: ("·", "dim"),
    Phase.STARTING: ("…", "yellow"),
    Phase.RESTARTING: ("↻", "yellow"),
    Phase.READY: ("✓", "green"),
    Phase.FAILED: ("✗", "red"),
}

_ROLES: Final = {
    "user": "accounts",
    "conversation": "live sessions",
    "ai": "listening, thinking, speaking (loads the models)",
    "history": "transcripts",
    "media": "recordings",
    "gateway": "one port for all of it",
}


@contextmanager
def starting(
    stream: TextIO | None = None,
) -> Iterator[Callable[[Mapping[str, Progress]], None]]:
    """Yield what shows the progress of a start on `stream`, standard output by default."""
    stream = stream or sys.stdout
    console = Console(file=stream)
    if not console.is_terminal:
        yield _Lines(stream)
        return
    with Live(console=console, refresh_per_second=10) as live:
        yield lambda progress: live.update(_table(progress))


class _Lines:
    """One line each time a program gets on."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._told: dict[str, Phase] = {}

    def __call__(self, progress: Mapping[str, Progress]) -> None:
        for name, each in progress.items():
            if each.phase in (Phase.WAITING, self._told.get(name)):
                continue
            self._told[name] = each.phase
            print(f"  {name}: {each.phase} ({each.seconds:.1f} s)", file=self._stream, flush=True)


def _table(progress: Mapping[str, Progress]) -> Table:
    table = Table.grid(padding=(0, 2))
    for name, each in progress.items():
        mark, style = _MARKS[each.phase]
        table.add_row(
            Text(f" {mark}", style),
            Text(name, "bold"),
            Text(_ROLES.get(name.partition("-")[0], ""), "dim"),
            Text(str(each.phase), style),
            Text(f"{each.seconds:.1f} s", "dim"),
        )
    return table
