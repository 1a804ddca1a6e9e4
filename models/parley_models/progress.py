"""What a fetch tells while it runs, and the three ways of showing it."""

import sys
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from parley_models.display import format_bytes, format_rate

PLAIN_LINE_EVERY_S = 5.0
"""Without a terminal: often enough to see life in a log, rarely enough to keep it short."""


class Reporter(Protocol):
    """Hears what a fetch does. May be called from several threads."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def planned(self, total_bytes: int) -> None:
        """How many bytes all files together have."""

    def started(self, file: str, size_bytes: int) -> None:
        """A file begins. `file` is "model/path"."""

    def advanced(self, file: str, have_bytes: int) -> None:
        """That many bytes of it are here; can go back when a source starts again."""

    def finished(self, file: str, source: str) -> None:
        """It is complete and its hash is right."""

    def note(self, text: str) -> None:
        """Something worth a line."""


class Silent:
    """Shows nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        return None

    def planned(self, total_bytes: int) -> None:
        """Ignored."""

    def started(self, file: str, size_bytes: int) -> None:
        """Ignored."""

    def advanced(self, file: str, have_bytes: int) -> None:
        """Ignored."""

    def finished(self, file: str, source: str) -> None:
        """Ignored."""

    def note(self, text: str) -> None:
        """Ignored."""


class PlainLines(Silent):
    """Lines of text, for logs and pipes."""

    def __init__(
        self,
        write: Callable[[str], object] = lambda line: print(line, file=sys.stderr, flush=True),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._write = write
        self._clock = clock
        self._lock = threading.Lock()
        self._sizes: dict[str, int] = {}
        self._began: dict[str, float] = {}
        self._last_line = clock()

    def planned(self, total_bytes: int) -> None:
        """One line with the total."""
        self._write(f"to fetch: {format_bytes(total_bytes)}")

    def started(self, file: str, size_bytes: int) -> None:
        """One line."""
        with self._lock:
            self._sizes[file] = size_bytes
            self._began[file] = self._last_line = self._clock()
        self._write(f"{file}: {format_bytes(size_bytes)}")

    def advanced(self, file: str, have_bytes: int) -> None:
        """A line now and then."""
        with self._lock:
            now = self._clock()
            size = self._sizes.get(file, 0)
            if now - self._last_line < PLAIN_LINE_EVERY_S or not size:
                return
            self._last_line = now
        percent = 100 * have_bytes // size
        self._write(f"{file}: {percent} % ({format_bytes(have_bytes)})")

    def finished(self, file: str, source: str) -> None:
        """One line with the speed."""
        with self._lock:
            size = self._sizes.get(file, 0)
            seconds = self._clock() - self._began.get(file, self._clock())
        self._write(f"{file}: done, {format_rate(size, seconds)}, from {source}")

    def note(self, text: str) -> None:
        """One line."""
        self._write(text)


class Bars:
    """A bar a file and one for the whole, in a terminal."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            TextColumn("{task.description}", justify="left"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=console,
        )
        self._lock = threading.Lock()
        self._tasks: dict[str, TaskID] = {}
        self._have: dict[str, int] = {}
        self._total: TaskID | None = None

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def planned(self, total_bytes: int) -> None:
        """Starts the bar for the whole."""
        with self._lock:
            self._total = self._progress.add_task("[bold]all", total=total_bytes)

    def started(self, file: str, size_bytes: int) -> None:
        """Adds a bar."""
        with self._lock:
            self._tasks[file] = self._progress.add_task(file, total=size_bytes)

    def advanced(self, file: str, have_bytes: int) -> None:
        """Moves the file's bar and the whole's."""
        with self._lock:
            self._have[file] = have_bytes
            if file in self._tasks:
                self._progress.update(self._tasks[file], completed=have_bytes)
            if self._total is not None:
                self._progress.update(self._total, completed=sum(self._have.values()))

    def finished(self, file: str, source: str) -> None:
        """Turns the bar into a line that stays."""
        with self._lock:
            task = self._tasks.pop(file, None)
            if task is not None:
                self._progress.remove_task(task)
        self._progress.console.print(
            f"[green]✓[/green] {file} [dim]from {source}[/dim]", highlight=False
        )

    def note(self, text: str) -> None:
        """A line above the bars."""
        self._progress.console.print(text, highlight=False)


def reporter_for(quiet: bool) -> Reporter:
    """Bars in a terminal, lines elsewhere, nothing when quiet. All of it on stderr."""
    if quiet:
        return Silent()
    console = Console(stderr=True)
    return Bars(console) if console.is_terminal else PlainLines()
