"""What a learner is told of the progress."""

from __future__ import annotations

import zoneinfo
from dataclasses import dataclass
from datetime import UTC, date, timedelta, tzinfo
from functools import cache

from services.common.clock import Clock
from services.common.errors import FieldViolation, InvalidArgument
from services.history.ports import Learners, Store
from services.history.progress import (
    DayOfProgress,
    Streaks,
    days_between,
    practised_days,
    quarters_around,
    speech_until,
    streaks,
)

_DAYS_BEFORE = timedelta(days=30)
"""What an empty first day means; the contract says so."""

MOST_DAYS = 366
"""A year. It bounds what one call reads and what one answer holds; the contract says so."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked: days as YYYY-MM-DD and the name of a time zone, each perhaps empty."""

    from_date: str = ""
    to_date: str = ""
    time_zone: str = ""


@dataclass(frozen=True, slots=True)
class Progress:
    """How practice goes.

    first, last: the days that were asked about, in `time_zone`.
    days: those of them with practice, the earliest first.
    speech_ms: how long the learner spoke up to and with `last`.
    conversations: how many there are.
    """

    time_zone: str
    first: date
    last: date
    days: tuple[DayOfProgress, ...]
    streaks: Streaks
    speech_ms: int
    conversations: int


class Reports:
    """Progress of all learners. Each sees only their own."""

    def __init__(self, store: Store, learners: Learners, clock: Clock) -> None:
        self._store = store
        self._learners = learners
        self._clock = clock

    async def progress(self, user_id: str, asked: Asked) -> Progress:
        """Tell how the practice of a user goes, who is the caller.

        Raises:
            InvalidArgument: INVALID_REQUEST, for days or a time zone that there are not.
            ParleyError: no zone was named and the learner's own cannot be had.
        """
        first, last = _day(asked.from_date, "from_date"), _day(asked.to_date, "to_date")
        name, zone = await self._zone(asked.time_zone)
        today = self._clock.now().astimezone(zone).date()
        last = last or today
        first = first or _before(last)
        _check(first, last)
        begin, end = quarters_around(first, last)
        async with self._store.reading() as state:
            practice = await state.practice(user_id, begin, end)
            ever = await state.practice_days(user_id)
            conversations = await state.count(user_id)
        return Progress(
            name,
            first,
            last,
            days=tuple(days_between(first, last, practice, zone)),
            streaks=streaks(practised_days(ever, zone), today),
            speech_ms=speech_until(last, ever, practice, zone, begin),
            conversations=conversations,
        )

    async def _zone(self, name: str) -> tuple[str, tzinfo]:
        if name:
            if name not in _known_zones():
                raise _unfit("time_zone", "must be an IANA time zone such as Europe/Madrid")
            return name, zoneinfo.ZoneInfo(name)
        # What the profile may hold the user service decides, and it may know a newer zone.
        kept = await self._learners.time_zone()
        if kept not in _known_zones():
            return "UTC", UTC
        return kept, zoneinfo.ZoneInfo(kept)


@cache
def _known_zones() -> frozenset[str]:
    # Not by trying: a name is also a path, of a folder as well.
    return frozenset(zoneinfo.available_timezones())


def _day(text: str, field: str) -> date | None:
    try:
        return date.fromisoformat(text) if text else None
    except ValueError:
        raise _unfit(field, "is no day of the calendar") from None


def _before(last: date) -> date:
    return last - _DAYS_BEFORE if last - date.min > _DAYS_BEFORE else date.min


def _check(first: date, last: date) -> None:
    if first > last:
        raise _unfit("from_date", f"is after the last day, {last}")
    if (last - first).days >= MOST_DAYS:
        raise _unfit("from_date", f"begins more than {MOST_DAYS} days: ask for them in parts")


def _unfit(field: str, why: str) -> InvalidArgument:
    return InvalidArgument(
        f"The request's {field} {why}.",
        reason="INVALID_REQUEST",
        fields=[FieldViolation(field, why)],
    )
