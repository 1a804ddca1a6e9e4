"""`parley progress`: what it asks, what it draws, and what it says where there is nothing."""

from __future__ import annotations

import json

import pytest

from parley.history.v1 import history_pb2 as pb
from parley.types.v1 import feedback_pb2
from parley_cli.commands.progress import bar, heights
from tests.unit.cli.conftest import Parley


def day(date: str, seconds: int, **more: object) -> pb.DailyProgress:
    told: dict[str, object] = {"words": seconds * 2, "turns": seconds // 10}
    told |= {"rate_wpm": 120.4, "median_silence_ms": 640}
    return pb.DailyProgress(date=date, speech_ms=1000 * seconds, **(told | more))


@pytest.fixture
def practised(parley: Parley) -> Parley:
    grammar = pb.CorrectionCount(kind=feedback_pb2.CORRECTION_KIND_GRAMMAR, count=2)
    style = pb.CorrectionCount(kind=feedback_pb2.CORRECTION_KIND_STYLE, count=1)
    parley.fake.progress = pb.GetProgressResponse(
        days=[
            day("2026-11-20", 30, corrections=[grammar]),
            day("2026-11-22", 0, rate_wpm=0, median_silence_ms=0, turns=1),
            day("2026-11-23", 600, corrections=[grammar, style]),
        ],
        current_streak_days=2,
        longest_streak_days=12,
        total_speech_ms=3_600_000,
        total_conversations=1,
    )
    parley.register()
    return parley


def test_it_shows_each_day_and_what_there_was_ever(practised: Parley) -> None:
    outcome = practised.run("progress")
    assert outcome.code == 0, outcome.err
    lines = [line.strip() for line in outcome.out.splitlines()]
    assert lines[0] == "·" * 26 + "▁·▁█"
    assert "Sun 25 Oct to Mon 23 Nov, Europe/Madrid" in outcome.out
    (monday,) = [line for line in lines if line.startswith("Mon 23 Nov ")]
    assert monday.split()[3:] == f"10:00 {'█' * 18} 60 1200 120 3 640 ms".split()
    (friday,) = [line for line in lines if line.startswith("Fri 20 Nov")]
    assert friday.split()[4] == "▉"
    assert "2 days in a row (longest 12) · 60:00 spoken until then · 1 conversation" in outcome.out
    assert "Notes: grammar 4, style 1" in outcome.out


@pytest.mark.parametrize(("days", "first"), [("1", "2026-11-23"), ("366", "2025-11-23")])
def test_days_are_counted_from_the_servers_today(practised: Parley, days: str, first: str) -> None:
    assert practised.run("progress", "--days", days, "--zone", "Asia/Tokyo").code == 0
    asked = practised.fake.progress_asked[-1]
    assert (asked.from_date, asked.to_date, asked.time_zone) == (first, "2026-11-23", "Asia/Tokyo")


@pytest.mark.parametrize("days", ["0", "367", "-1", "x"])
def test_days_that_cannot_be_asked_for_are_wrong_use(practised: Parley, days: str) -> None:
    assert practised.run("progress", "--days", days).code == 2
    assert not practised.fake.progress_asked


def test_as_json_it_is_the_contracts_answer(practised: Parley) -> None:
    (line,) = practised.run("progress", "--json").out.splitlines()
    told = json.loads(line)
    assert told["longest_streak_days"] == 12
    assert [each["date"] for each in told["days"]] == ["2026-11-20", "2026-11-22", "2026-11-23"]


def test_without_practice_it_says_how_to_begin(parley: Parley) -> None:
    parley.register()
    out = parley.run("progress").out
    assert "No practice" in out
    assert "parley talk" in out
    assert "in a row" not in out


def test_columns_are_as_high_as_their_values() -> None:
    assert heights([]) == ""
    assert heights([0, 0]) == "··"
    assert heights([1, 50, 100, 0]) == "▁▅█·"


def test_bars_are_as_long_as_their_values_and_never_gone() -> None:
    assert bar(0, 100) == ""
    assert bar(100, 100, 10) == "█" * 10
    assert bar(1, 100_000, 10) == "▏"
    assert bar(55, 100, 10) == "█" * 5 + "▌"
