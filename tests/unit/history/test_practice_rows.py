"""What is added up says the same as the turns, whatever came in whatever order, and went again."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.common.clock import ManualClock
from services.common.database import Database
from services.common.errors import NotFound
from services.common.outbox import Outbox
from services.history.adapters.store import SqlStore
from services.history.adapters.tables import OutboxRow
from services.history.conversations import TurnFigures
from services.history.events import Assessed, Envelope, Event, FoundMistake, TurnFinished
from services.history.practice import Practice, practice_of
from services.history.recounting import recount
from services.history.reports import Asked, Progress, Reports
from tests.unit.history.conftest import Copies, opened

USERS = [str(UUID(int=each)) for each in (1, 2)]
CONVERSATIONS = [str(UUID(int=0x10 + each)) for each in range(3)]
"""The first two are the first user's."""

BEGAN = datetime(2026, 3, 28, 23, 40, tzinfo=UTC)
"""Before midnight in London, after it in Madrid, on the night before the clock changes."""


EVER = (0, 2**31 - 1)


def owner(conversation: int) -> str:
    return USERS[conversation // 2]


def turn_id(conversation: int, number: int) -> str:
    return str(UUID(int=0x1000 + 0x100 * conversation + number))


def envelope(conversation: int, kind: str, place: int) -> Envelope:
    event_id = str(UUID(int=0x100000 + place))
    at = BEGAN + timedelta(seconds=place)
    return Envelope(event_id, CONVERSATIONS[conversation], owner(conversation), at, kind)


def finished(conversation: int, number: int, place: int, words: int) -> TurnFinished:
    return TurnFinished(
        envelope(conversation, "turn", place),
        turn_id=turn_id(conversation, number),
        number=number,
        started_at=BEGAN + timedelta(minutes=7 * number + conversation),
        learner_text="words " * words,
        tutor_text="so it is",
        words=words,
        speech_ms=300 * (words % 4),
        silence_ms=None if words == 3 else 100 * words + number,
        body=b"turn",
    )


def assessed(conversation: int, number: int, place: int, kinds: list[int]) -> Assessed:
    found = tuple(FoundMistake(kind, f"mistake {kind}", b"correction") for kind in kinds)
    about = envelope(conversation, "assessed", place)
    return Assessed(about, turn_id(conversation, number), found, b"feedback")


numbers = st.integers(1, 5)
conversations = st.integers(0, 2)


@st.composite
def told(draw: Any) -> list[Event]:
    """Turns, turns told again in other words, and assessments, some before and some after."""
    shapes = st.one_of(
        st.tuples(st.just("turn"), conversations, numbers, st.integers(0, 6)),
        st.tuples(
            st.just("assessed"), conversations, numbers, st.lists(st.integers(1, 4), max_size=3)
        ),
    )
    events: list[Event] = []
    for place, (what, conversation, number, how) in enumerate(draw(st.lists(shapes, max_size=14))):
        make: Any = finished if what == "turn" else assessed
        events.append(make(conversation, number, place, how))
    return events


steps = st.one_of(
    st.tuples(st.just("ingest"), st.lists(st.integers(0, 13), min_size=1, max_size=6)),
    st.tuples(st.just("delete"), conversations),
    st.tuples(st.just("erase"), st.integers(0, 1)),
)


async def stored(store: SqlStore, user_id: str) -> list[Practice]:
    """Return the sums as they are stored."""
    async with store.reading() as state:
        return ordered(await state.practice(user_id, *EVER))


def ordered(practice: Iterable[Practice]) -> list[Practice]:
    return sorted(practice, key=repr)


async def fresh(database: Database, user_id: str) -> list[Practice]:
    """Add up once more the user's turns and mistakes that there are."""
    async with database.snapshot() as session:
        rows = (await session.connection()).exec_driver_sql
        turns: Sequence[Any] = (
            await rows(
                "SELECT conversation_id, turn_id, started_at, words, speech_ms, silence_ms "
                "FROM turns"
            )
        ).all()
        mistakes: Sequence[Any] = (await rows("SELECT turn_id, kind FROM mistakes")).all()
    kinds: dict[str, Counter[int]] = {}
    for about, kind in mistakes:
        kinds.setdefault(about, Counter())[kind] += 1
    figures: dict[str, list[TurnFigures]] = {}
    for conversation_id, turn, started_at, *rest in turns:
        at = datetime.fromisoformat(started_at) if isinstance(started_at, str) else started_at
        at = at if at.tzinfo else at.replace(tzinfo=UTC)
        figures.setdefault(conversation_id, []).append(TurnFigures(turn, at, *rest))
    own = (each for each in figures if owner(CONVERSATIONS.index(each)) == user_id)
    return ordered(one for each in own for one in practice_of(figures[each], kinds))


class Madrid:
    async def time_zone(self) -> str:
        return "Europe/Madrid"


class Noon(ManualClock):
    def now(self) -> datetime:
        return datetime(2026, 3, 30, 12, tzinfo=UTC)


def store_of(database: Database) -> SqlStore:
    return SqlStore(database, Outbox(OutboxRow, Noon()), Noon())


async def progress(database: Database, user_id: str = USERS[0], **asked: str) -> Progress:
    reports = Reports(store_of(database), Madrid(), Noon())
    return await reports.progress(user_id, Asked(**asked))


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(events=told(), done=st.lists(steps, max_size=12))
async def test_the_sums_are_those_of_a_fresh_count_after_any_events_and_deletions(
    events: list[Event], done: list[tuple[str, Any]], copies: Copies
) -> None:
    """Events come singly and together, twice, late and out of order; conversations go."""
    async with opened(copies) as (history, database):
        for what, which in done:
            if what == "ingest":
                batch = [events[each] for each in which if each < len(events)]
                if batch:
                    await history.ingest(batch)
            elif what == "delete":
                with contextlib.suppress(NotFound):
                    await history.delete(owner(which), CONVERSATIONS[which])
            else:
                await history.erase_user(USERS[which])
        for user_id in USERS:
            counted = await fresh(database, user_id)
            assert await stored(store_of(database), user_id) == counted
            shown = await progress(database, user_id)
            assert sum(day.turns for day in shown.days) == sum(one.turns for one in counted)
            assert shown.speech_ms == sum(one.speech_ms for one in counted)


@settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data(), events=told())
async def test_any_order_of_the_same_events_ends_in_the_same_progress(
    data: Any, events: list[Event], copies: Copies
) -> None:
    shuffled = data.draw(st.permutations([*events, *events]))
    async with opened(copies) as (history, database):
        for event in events:
            await history.ingest([event])
        in_order = [await progress(database, user_id) for user_id in USERS]
    async with opened(copies) as (history, database):
        for event in shuffled:
            await history.ingest([event])
        assert [await progress(database, user_id) for user_id in USERS] == in_order


async def test_a_learners_days_are_added_up(copies: Copies) -> None:
    async with opened(copies) as (history, database):
        turns = [finished(0, number, number, 6) for number in (1, 2, 3, 4, 5)]
        await history.ingest([*turns, assessed(0, 1, 6, [1, 1, 3]), finished(2, 1, 7, 6)])
        told = await progress(database)
        # 23:40 in UTC and ten minutes or more later: after midnight in Madrid, before in London.
        assert [(day.day, day.turns, day.words) for day in told.days] == [
            (date(2026, 3, 29), 5, 30)
        ]
        assert told.days[0].corrections == ((1, 2), (3, 1))
        assert told.days[0].rate_wpm == pytest.approx(6 * 60_000 / 600)
        assert told.days[0].median_silence_ms == 603
        assert (told.streaks.current, told.speech_ms, told.conversations) == (1, 3_000, 1)
        assert (told.first, told.last) == (date(2026, 2, 28), date(2026, 3, 30))
        in_london = await progress(database, time_zone="Europe/London")
        assert [(day.day, day.turns) for day in in_london.days] == [
            (date(2026, 3, 28), 2),
            (date(2026, 3, 29), 3),
        ]
        assert in_london.streaks.longest == 2


async def test_a_correction_that_comes_days_later_counts_on_the_day_of_its_turn(
    copies: Copies,
) -> None:
    async with opened(copies) as (history, database):
        await history.ingest([assessed(0, 1, 5 * 86_400, [2])])
        assert not (await progress(database)).days
        await history.ingest([finished(0, 1, 1, 6)])
        (day,) = (await progress(database)).days
        assert (day.day, day.corrections) == (date(2026, 3, 29), ((2, 1),))
        # Looked at again, by a better scorer, it is none.
        await history.ingest([assessed(0, 1, 6 * 86_400, [])])
        (day,) = (await progress(database)).days
        assert day.corrections == ()


async def test_practice_in_several_talks_at_once_is_added_up_once(copies: Copies) -> None:
    async with opened(copies) as (history, database):
        events = [
            finished(which, number, 10 * which + number, 6)
            for which in (0, 1)
            for number in (1, 2, 3)
        ]
        await asyncio.gather(*(history.ingest([each]) for each in events * 2))
        told = await progress(database)
        assert (sum(day.turns for day in told.days), told.speech_ms) == (6, 6 * 600)


async def test_recounting_mends_what_was_written_past_the_sums(copies: Copies) -> None:
    """As a process of an earlier version does while this one is there already."""
    async with opened(copies) as (history, database):
        await history.ingest([finished(0, number, number, 6) for number in (1, 2, 3)])
        before = await progress(database)
        async with database.transaction() as session:
            run = (await session.connection()).exec_driver_sql
            await run("UPDATE practice SET turns = 99")
            await run("DELETE FROM search_index")
            await run("DELETE FROM search_segments")
            await run("UPDATE search_texts SET segment_id = 0")
        assert not (await history.search(USERS[0], "words", 0, "")).matches
        store = store_of(database)
        assert [await recount(store), await recount(store)] == [1, 1]
        assert await progress(database) == before
        assert len((await history.search(USERS[0], "words", 0, "")).matches) == 3
        await history.delete(USERS[0], CONVERSATIONS[0])
        assert await recount(store) == 0


@pytest.mark.parametrize("zone", ["Europe/Madrid", "Asia/Kathmandu", "America/St_Johns"])
async def test_todays_row_of_days_is_that_of_the_learners_own_midnight(
    copies: Copies, zone: str
) -> None:
    now = Noon().now().astimezone(ZoneInfo(zone))
    midnight = now.replace(hour=0, minute=0, second=0)
    async with opened(copies) as (history, database):
        for place, at in enumerate([midnight, midnight - timedelta(seconds=1)]):
            event = finished(0, place + 1, place, 6)
            told = {name: getattr(event, name) for name in event.__slots__}
            await history.ingest([TurnFinished(**(told | {"started_at": at}))])
        assert (await progress(database, time_zone=zone)).streaks.current == 2
