"""`progress`: how practice goes, day by day."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Annotated

import typer
from rich import box
from rich.table import Table
from rich.text import Text

from parley.history.v1 import history_pb2
from parley.types.v1 import feedback_pb2
from parley_cli.commands.printing import duration, print_json_lines
from parley_cli.state import run, state_of, stdout

_PANEL = "What was said"

_DEFAULT_DAYS = 30
_MOST_DAYS = 366

# Columns of the longest bar; with what stands beside it a line fits 80.
_BAR_COLUMNS = 18
_EIGHTHS = " ▏▎▍▌▋▊▉"

_HEIGHTS = "▁▂▃▄▅▆▇█"
_NO_PRACTICE = "·"

_KINDS = {
    feedback_pb2.CORRECTION_KIND_GRAMMAR: "grammar",
    feedback_pb2.CORRECTION_KIND_VOCABULARY: "words",
    feedback_pb2.CORRECTION_KIND_PRONUNCIATION: "pronunciation",
    feedback_pb2.CORRECTION_KIND_STYLE: "style",
}


def add_to(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command(rich_help_panel=_PANEL)(progress)


def progress(
    context: typer.Context,
    days: Annotated[
        int, typer.Option("--days", "-d", min=1, max=_MOST_DAYS, help="How many, up to today.")
    ] = _DEFAULT_DAYS,
    zone: Annotated[
        str,
        typer.Option(metavar="NAME", help="Whose days, such as Europe/Madrid; your profile's."),
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Show how your practice goes: speaking time, words, pace, notes, and days in a row.

    Examples:
      parley progress

      parley progress --days 7

      parley progress --days 365 --json
    """
    state = state_of(context)

    async def work() -> history_pb2.GetProgressResponse:
        async with state.client() as client:
            # Which day it is where the profile is, the server knows: it is told first.
            request = history_pb2.GetProgressRequest(time_zone=zone)
            told: history_pb2.GetProgressResponse = await client.call(
                client.history.GetProgress, request
            )
            first = date.fromisoformat(told.to_date) - timedelta(days=days - 1)
            request.from_date, request.to_date = first.isoformat(), told.to_date
            asked: history_pb2.GetProgressResponse = await client.call(
                client.history.GetProgress, request
            )
            return asked

    told = run(work())
    print_json_lines([told]) if as_json else _print(told)


def heights(values: Sequence[int]) -> str:
    """Draw one column a value, as high as it is beside the greatest; a dot where it is 0."""
    most = max(values, default=0)
    steps = len(_HEIGHTS)
    return "".join(
        _HEIGHTS[min(steps - 1, value * steps // most)] if value else _NO_PRACTICE
        for value in values
    )


def bar(value: int, most: int, columns: int = _BAR_COLUMNS) -> str:
    """Draw a bar as long as `value` is beside `most`, which fills all columns.

    What is more than nothing is at least a sliver.
    """
    if not value:
        return ""
    eighths = max(1, round(8 * columns * value / most))
    whole, rest = divmod(eighths, 8)
    return "█" * whole + _EIGHTHS[rest].strip()


def _print(told: history_pb2.GetProgressResponse) -> None:
    console = stdout()
    first, last = date.fromisoformat(told.from_date), date.fromisoformat(told.to_date)
    if not told.days:
        console.print(f"No practice from {_day(first)} to {_day(last)}. Begin with `parley talk`.")
        if told.total_conversations:
            _print_ever(told)
        return
    # Where everything was typed there was practice as well.
    by_date = {date.fromisoformat(each.date): max(1, each.speech_ms) for each in told.days}
    every = [first + timedelta(days=each) for each in range((last - first).days + 1)]
    if len(every) <= console.width:
        console.print(Text(heights([by_date.get(day, 0) for day in every]), style="green"))
    console.print(f"{_day(first)} to {_day(last)}, {told.time_zone}", style="dim")
    console.print(_table(told.days))
    _print_ever(told)
    notes: Counter[str] = Counter()
    for each in told.days:
        for found in each.corrections:
            notes[_KINDS.get(found.kind, "other")] += found.count
    if notes:
        console.print("Notes: " + ", ".join(f"{kind} {count}" for kind, count in notes.items()))


def _table(days: Sequence[history_pb2.DailyProgress]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("day", no_wrap=True)
    table.add_column("spoken", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True, style="green")
    for heading in ("turns", "words", "a min", "notes", "wait"):
        table.add_column(heading, justify="right", no_wrap=True)
    most = max(each.speech_ms for each in days)
    for each in days:
        notes = sum(found.count for found in each.corrections)
        table.add_row(
            _day(date.fromisoformat(each.date)),
            duration(each.speech_ms),
            bar(each.speech_ms, most),
            str(each.turns),
            str(each.words),
            f"{each.rate_wpm:.0f}" if each.rate_wpm else "",
            str(notes) if notes else "",
            f"{each.median_silence_ms} ms" if each.median_silence_ms else "",
        )
    return table


def _print_ever(told: history_pb2.GetProgressResponse) -> None:
    facts = [
        f"{_count(told.current_streak_days, 'day')} in a row (longest {told.longest_streak_days})",
        f"{duration(told.total_speech_ms)} spoken until then",
        _count(told.total_conversations, "conversation"),
    ]
    stdout().print(" · ".join(facts))


def _day(day: date) -> str:
    return datetime(day.year, day.month, day.day, tzinfo=UTC).strftime("%a %d %b")


def _count(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
