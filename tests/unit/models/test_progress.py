"""What a fetch shows."""

import io

from rich.console import Console

from parley_models.display import format_bytes, format_rate
from parley_models.progress import Bars, PlainLines, Reporter, Silent


def tell(reporter: Reporter) -> None:
    with reporter:
        reporter.planned(2_000_000)
        reporter.started("m/a", 2_000_000)
        reporter.advanced("m/a", 500_000)
        reporter.note("m/a: hub: HTTP 404")
        reporter.advanced("m/a", 2_000_000)
        reporter.finished("m/a", "registry")


def test_lines_without_a_terminal_come_now_and_then() -> None:
    now = 0.0
    lines: list[str] = []
    reporter = PlainLines(lines.append, clock=lambda: now)
    reporter.planned(2_000_000)
    reporter.started("m/a", 2_000_000)
    for second in range(1, 11):
        now = float(second)
        reporter.advanced("m/a", 200_000 * second)
    reporter.finished("m/a", "hub")
    assert lines == [
        "to fetch: 2 MB",
        "m/a: 2 MB",
        "m/a: 50 % (1 MB)",
        "m/a: 100 % (2 MB)",
        "m/a: done, 200 kB/s, from hub",
    ]


def test_bars_leave_a_line_for_each_finished_file() -> None:
    shown = io.StringIO()
    tell(Bars(Console(file=shown, force_terminal=True, width=100)))
    assert "m/a" in shown.getvalue()
    assert "from registry" in shown.getvalue()
    assert "HTTP 404" in shown.getvalue()


def test_silence_is_silent(capsys: object) -> None:
    tell(Silent())


def test_sizes_read_like_on_a_download_page() -> None:
    assert [format_bytes(n) for n in (0, 999, 1000, 1_289_603, 1_117_320_768)] == [
        "0 B",
        "999 B",
        "1 kB",
        "1.29 MB",
        "1.12 GB",
    ]
    assert format_rate(10_000_000, 2.0) == "5 MB/s"
    assert format_rate(10, 0.0) == "at once"
