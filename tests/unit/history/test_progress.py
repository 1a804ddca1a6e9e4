"""Practice by the quarter hour, and the days, sums and rows of days that are made of it."""

import random
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.history.conversations import TurnFigures
from services.history.practice import (
    QUARTERS_A_DAY,
    Practice,
    day_of,
    practice_of,
    quarter_of,
)
from services.history.progress import (
    PracticeDay,
    Streaks,
    days_between,
    practised_days,
    quarters_around,
    speech_until,
    streaks,
)

MADRID = ZoneInfo("Europe/Madrid")
ZONES = [
    "UTC",
    "Europe/Madrid",
    "America/New_York",
    "America/Havana",
    "Africa/Cairo",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",
    "Pacific/Chatham",
    "Pacific/Kiritimati",
    "Pacific/Pago_Pago",
]
"""Whole, half and quarter hours from UTC, both ends of the day, clocks that change at midnight."""


def turn(at: datetime, turn_id: str = "t", **more: Any) -> TurnFigures:
    told: dict[str, Any] = {"words": 5, "speech_ms": 2_000, "silence_ms": 400} | more
    return TurnFigures(turn_id, at, **told)


def practice(at: datetime, **more: Any) -> Practice:
    (made,) = practice_of([turn(at, **more)], {})
    return made


def utc_days(parts: list[Practice]) -> list[PracticeDay]:
    """Add up as the database does."""
    days: dict[int, list[Practice]] = {}
    for each in parts:
        days.setdefault(each.quarter // QUARTERS_A_DAY, []).append(each)
    return [
        PracticeDay(
            day,
            min(each.quarter for each in some),
            max(each.quarter for each in some),
            sum(each.speech_ms for each in some),
        )
        for day, some in days.items()
    ]


# --- practice -----------------------------------------------------------------------------------


def test_turns_are_added_up_by_the_quarter_hour_in_which_they_began() -> None:
    at = datetime(2026, 5, 1, 10, 14, 59, 999_999, tzinfo=UTC)
    turns = [
        turn(at, "a"),
        turn(at - timedelta(minutes=10), "b", silence_ms=100, words=3),
        turn(at + timedelta(microseconds=1), "c"),
    ]
    first, second = practice_of(turns, {"a": {1: 2}, "b": {1: 1, 4: 1}, "unknown": {2: 9}})
    assert second.quarter == first.quarter + 1
    assert (first.turns, first.words, first.speech_ms) == (2, 8, 4_000)
    assert first.silences_ms == (100, 400)
    assert first.corrections == ((1, 3), (4, 1))
    assert (second.turns, second.corrections) == (1, ())


def test_what_the_tutor_said_alone_is_no_practice() -> None:
    at = datetime(2026, 5, 1, 10, tzinfo=UTC)
    assert practice_of([turn(at, words=0, speech_ms=0)], {"t": {1: 1}}) == []


def test_typed_words_count_as_words_and_not_for_the_rate() -> None:
    at = datetime(2026, 5, 1, 10, tzinfo=UTC)
    parts = practice_of([turn(at, words=30, speech_ms=10_000), turn(at, words=9, speech_ms=0)], {})
    (day,) = days_between(at.date(), at.date(), parts, UTC)
    assert (day.words, day.speech_ms, day.rate_wpm) == (39, 10_000, 180.0)


def test_speech_of_which_no_word_was_understood_is_practice() -> None:
    at = datetime(2026, 5, 1, 10, tzinfo=UTC)
    (day,) = days_between(at.date(), at.date(), [practice(at, words=0)], UTC)
    assert (day.turns, day.words, day.rate_wpm) == (1, 0, 0.0)


@pytest.mark.parametrize("year", [1, 1969, 9999])
@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "Pacific/Pago_Pago"])
def test_a_broken_clocks_time_has_a_day_in_every_zone(year: int, zone: str) -> None:
    quarter = quarter_of(datetime(year, 12, 31, 23, 59, tzinfo=UTC))
    assert quarter >= 0
    assert date.min < day_of(quarter, ZoneInfo(zone)) < date.max


# --- days ---------------------------------------------------------------------------------------


def test_a_talk_over_midnight_counts_on_both_days() -> None:
    midnight = datetime(2026, 5, 2, 0, 0, tzinfo=MADRID)
    talk = [turn(midnight + timedelta(seconds=30 * each), str(each)) for each in range(-3, 2)]
    parts = practice_of(talk, {"-3": {1: 1}, "1": {2: 1}})
    first, second = days_between(date(2026, 5, 1), date(2026, 5, 2), parts, MADRID)
    assert (first.day, first.turns, first.corrections) == (date(2026, 5, 1), 3, ((1, 1),))
    assert (second.day, second.turns, second.corrections) == (date(2026, 5, 2), 2, ((2, 1),))


@pytest.mark.parametrize(
    ("day", "hours"), [(date(2026, 3, 29), 23), (date(2026, 10, 25), 25), (date(2026, 5, 1), 24)]
)
def test_a_day_on_which_the_clock_changes_is_a_day(day: date, hours: int) -> None:
    """Of 23 hours or of 25: every quarter is on one day, and none is on two."""
    start = datetime(day.year, day.month, day.day, tzinfo=MADRID).astimezone(UTC)
    parts = [practice(start + timedelta(minutes=15 * each)) for each in range(-4, 4 * hours + 4)]
    found = days_between(day, day, parts, MADRID)
    assert [each.turns for each in found] == [4 * hours]


def test_a_learner_who_moves_is_told_of_the_days_of_the_new_place() -> None:
    """Nothing is kept by day: the same evening is another day elsewhere."""
    parts = [practice(datetime(2026, 5, 1, 23, 30, tzinfo=UTC))]
    around = date(2026, 4, 1), date(2026, 6, 1)
    (at_home,) = days_between(*around, parts, ZoneInfo("America/New_York"))
    (abroad,) = days_between(*around, parts, ZoneInfo("Asia/Tokyo"))
    assert (at_home.day, abroad.day) == (date(2026, 5, 1), date(2026, 5, 2))


def test_the_median_is_that_of_all_silences_of_the_day() -> None:
    at = datetime(2026, 5, 1, 10, tzinfo=UTC)
    parts = [practice(at, silence_ms=each) for each in (900, 100, None, 300)]
    (day,) = days_between(at.date(), at.date(), parts, UTC)
    assert day.median_silence_ms == 300


seconds = st.integers(0, 3 * 365 * 86_400)
moments = st.lists(
    seconds.map(lambda since: datetime(2024, 1, 1, tzinfo=UTC) + timedelta(seconds=since)),
    max_size=40,
)


@given(moments, st.sampled_from(ZONES), st.dates(date(2024, 1, 1), date(2026, 12, 31)))
def test_days_come_to_what_the_turns_themselves_come_to(
    times: list[datetime], name: str, first: date
) -> None:
    zone, last = ZoneInfo(name), first + timedelta(days=200)
    parts = [practice(at) for at in times]
    begin, end = quarters_around(first, last)
    read = [each for each in parts if begin <= each.quarter < end]
    random.Random(0).shuffle(read)
    told = {each.day: each.turns for each in days_between(first, last, read, zone)}
    # The day on which a turn began, by its own time and not by its quarter's.
    local = [at.astimezone(zone).date() for at in times]
    assert told == {day: local.count(day) for day in local if first <= day <= last}
    ever = utc_days(parts)
    assert practised_days(ever, zone) == set(local)
    spoken = speech_until(last, ever, read, zone, begin)
    assert spoken == 2_000 * sum(day <= last for day in local)


@pytest.mark.parametrize("day", [date.min, date.max, date(1970, 1, 1)])
def test_the_first_and_the_last_day_there_is_have_quarters_around_them(day: date) -> None:
    begin, end = quarters_around(day, day)
    assert 0 <= begin <= end


# --- days in a row ------------------------------------------------------------------------------

TODAY = date(2026, 3, 1)


def days_ago(*days: int) -> set[date]:
    return {TODAY - timedelta(days=each) for each in days}


@pytest.mark.parametrize(
    ("practised", "current", "longest"),
    [
        ((), 0, 0),
        ((0,), 1, 1),
        ((1,), 1, 1),  # today is not over yet
        ((2,), 0, 1),
        ((0, 1, 2, 4, 5, 6, 7), 3, 4),
        ((1, 2, 3), 3, 3),
        ((-1, -2, 0), 1, 3),  # a sender's clock went ahead
    ],
)
def test_days_in_a_row_end_today_or_yesterday(practised: Any, current: int, longest: int) -> None:
    assert streaks(days_ago(*practised), TODAY) == Streaks(current, longest)


def test_a_row_goes_on_over_the_change_of_the_clock() -> None:
    evening = datetime(2026, 3, 26, 23, 50, tzinfo=MADRID)
    # By the wall clock: the quarters of UTC are at another distance from midnight afterwards.
    times = [evening + timedelta(days=each) for each in range(6)]
    days = practised_days(utc_days([practice(at) for at in times]), MADRID)
    assert streaks(days, date(2026, 3, 31)) == Streaks(6, 6)
