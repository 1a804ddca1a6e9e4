"""How a command speaks to the person at the terminal."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from alembic.util import CommandError
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from admin.errors import AdminError, ExitCode
from admin.looking.finding import Finding
from services.common.errors import ParleyError

AsJson = Annotated[bool, typer.Option("--json", help="One JSON object a line, for programs.")]
"""The option of every command that programs may want to read."""

_NAMED = 10


@contextmanager
def told() -> Iterator[None]:
    """Tell an expected failure in a sentence, and end with its exit code."""
    console = Console(stderr=True, highlight=False)
    try:
        yield
    except AdminError as error:
        console.print(f"[bold red]✗[/] {escape(error.message)}", soft_wrap=True)
        if error.advice:
            console.print(f"  {escape(error.advice)}", soft_wrap=True)
        raise typer.Exit(error.exit_code) from error
    except (ParleyError, CommandError, OSError) as error:
        # A disk that is full, a file that is another's: foreseen nowhere in particular.
        console.print(f"[bold red]✗[/] {escape(str(error))}", soft_wrap=True)
        raise typer.Exit(ExitCode.WRONG) from error
    except KeyboardInterrupt as error:
        console.print("Stopped.")
        raise typer.Exit(ExitCode.ABORTED) from error


def tell_json(**found: Any) -> None:
    """Print one JSON object, on one line."""
    typer.echo(json.dumps(found, default=str, ensure_ascii=False))


def progress_console() -> Console:
    """Return where progress is shown: no result, it goes where it mixes with none."""
    return Console(stderr=True, highlight=False)


def warn(what: str, names: Sequence[str]) -> None:
    """Say what is not as it should be, with the names of what that is about, up to ten."""
    console = Console(stderr=True, highlight=False)
    console.print(f"[bold yellow]![/] {escape(what)}", soft_wrap=True)
    for each in names[:_NAMED]:
        console.print(f"  {each}")
    if len(names) > _NAMED:
        console.print(f"  and {len(names) - _NAMED:,} more")


def print_findings(findings: Sequence[Finding], title: str) -> None:
    """Print findings as a table."""
    marks = {True: "[green]✓[/]", False: "[red]✗[/]", None: "[dim]·[/]"}
    table = Table(box=None, pad_edge=False, title=title, title_justify="left")
    table.add_column("")
    table.add_column("what", no_wrap=True)
    table.add_column("found, and what to do")
    for each in findings:
        found = Text(each.found)
        if each.advice:
            found.append(f"\n→ {each.advice}", style="" if each.ok is False else "dim")
        table.add_row(marks[each.ok], each.what, found)
    Console(highlight=False).print(table)
