"""How practice goes: days of a time zone, and how many came in a row."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta, tzinfo

from services.history.practice import QUARTERS_A_DAY, Practice, day_of

_EPOCH_ORDINAL = date(1970, 1, 1).toordinal()

_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class PracticeDay:
    """One UTC day on which a learner practised: when first, when last, and how long in all.

    utc_day: which one, counted from the epoch.
    """

    utc_day: int
    first_quarter: int
    last_quarter: int
    speech_ms: int


@dataclass(frozen=True, slots=True)
class DayOfProgress:
    """One local day of practice. `corrections`: (number of the kind, how many), ascending."""

    day: date
    turns: int
    words: int
    speech_ms: int
    rate_wpm: float
    median_silence_ms: int
    corrections: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Streaks:
    """Days in a row: up to now, and the most ever."""

    current: int
    longest: int


def quarters_around(first: date, last: date) -> tuple[int, int]:
    """Return quarters from which (inclusive) and to which (exclusive) the days lie in any zone.

    They begin with a whole UTC day.
    """
    begin = max(first.toordinal() - 1 - _EPOCH_ORDINAL, 0)
    end = max(last.toordinal() + 2 - _EPOCH_ORDINAL, 0)
    return begin * QUARTERS_A_DAY, end * QUARTERS_A_DAY


def days_between(
    first: date, last: date, practice: Iterable[Practice], zone: tzinfo
) -> list[DayOfProgress]:
    """Add up the days from `first` to `last` on which there was practice, the earliest first."""
    days: dict[date, list[Practice]] = {}
    for each in practice:
        day = day_of(each.quarter, zone)
        if first <= day <= last:
            days.setdefault(day, []).append(each)
    return [_day(day, days[day]) for day in sorted(days)]


def speech_until(
    last: date, ever: Iterable[PracticeDay], around: Sequence[Practice], zone: tzinfo, begin: int
) -> int:
    """Return how long a learner spoke up to and with the day `last`, in milliseconds.

    Args:
        last: the day.
        ever: every UTC day of practice.
        around: all practice from the quarter `begin` on that may lie on a day up to `last`.
        zone: whose days are meant.
        begin: as `quarters_around` returns it.
    """
    before = sum(each.speech_ms for each in ever if each.utc_day < begin // QUARTERS_A_DAY)
    return before + sum(each.speech_ms for each in around if day_of(each.quarter, zone) <= last)


def practised_days(ever: Iterable[PracticeDay], zone: tzinfo) -> set[date]:
    """Return all local days with practice.

    A UTC day has quarters of two local days at most, one after the other: its first and its last
    quarter with practice tell which. (A clock that went back over midnight a minute after it, as
    Newfoundland's did until 2011, is the exception; there was no Parley then.)
    """
    return {
        day_of(quarter, zone)
        for each in ever
        for quarter in (each.first_quarter, each.last_quarter)
    }


def streaks(days: Collection[date], today: date) -> Streaks:
    """Count days in a row. The current row may end today, or yesterday: today is not over yet."""
    known = frozenset(days)
    latest = today if today in known else today - _DAY
    firsts = (day for day in known if day - _DAY not in known)
    longest = max((_row(known, day, _DAY) for day in firsts), default=0)
    return Streaks(_row(known, latest, -_DAY), longest)


def _row(days: Collection[date], day: date, step: timedelta) -> int:
    length = 0
    while day in days:
        length += 1
        day += step
    return length


def _day(day: date, parts: Sequence[Practice]) -> DayOfProgress:
    speech_ms = sum(each.speech_ms for each in parts)
    spoken = sum(each.spoken_words for each in parts)
    silences = [silence for each in parts for silence in each.silences_ms]
    kinds: Counter[int] = Counter()
    for each in parts:
        kinds.update(dict(each.corrections))
    return DayOfProgress(
        day,
        turns=sum(each.turns for each in parts),
        words=sum(each.words for each in parts),
        speech_ms=speech_ms,
        rate_wpm=spoken * 60_000 / speech_ms if speech_ms else 0.0,
        median_silence_ms=round(statistics.median(silences)) if silences else 0,
        corrections=tuple(sorted(kinds.items())),
    )
