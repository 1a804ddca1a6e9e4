"""What the person sees while something takes long: a bar on a terminal, elsewhere lines."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)


class Stages:
    """One stage after another; what is done is told of the one under way."""

    def __init__(self, console: Console, progress: Progress | None) -> None:
        self._console = console
        self._progress = progress
        self._task: TaskID | None = None

    @contextmanager
    def stage(self, what: str, size: int) -> Iterator[None]:
        """Show a stage that is about `size` bytes long, for as long as the block lasts."""
        if self._progress is None:
            self._console.print(f"{what} …")
            yield
            return
        self._task = self._progress.add_task(what, total=max(size, 1))
        yield
        # An estimate may have been wrong; the stage is over all the same.
        self._progress.update(self._task, total=max(size, 1), completed=max(size, 1))
        self._task = None

    def advance(self, size: int) -> None:
        """Say that so many bytes more were done."""
        if self._progress is not None and self._task is not None:
            self._progress.advance(self._task, size)


@contextmanager
def showing(console: Console, *, quiet: bool = False) -> Iterator[Stages]:
    """Yield what shows the stages of long work on `console`, for as long as the block lasts."""
    if quiet:
        yield Stages(Console(quiet=True), None)
    elif not console.is_terminal:
        yield Stages(console, None)
    else:
        columns = (
            TextColumn("{task.description:<28}"),
            BarColumn(),
            DownloadColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=console) as progress:
            yield Stages(console, progress)
