"""The store and the application over real databases of each kind."""

import asyncio
import contextlib
import dataclasses
import itertools
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import sqlalchemy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.common.audit import AuditTrail
from services.common.clock import ManualClock
from services.common.database import Database
from services.common.errors import InvalidArgument
from services.common.ids import new_id
from services.common.migrations import migrate, schema_drift
from services.common.outbox import Outbox
from services.history.adapters.store import SqlStore
from services.history.adapters.tables import Base, OutboxRow
from services.history.application import History, Ingested
from services.history.bootstrap import MIGRATIONS
from services.history.events import (
    Assessed,
    Ended,
    Envelope,
    Event,
    FoundMistake,
    RecordingStored,
    Started,
    TurnFinished,
)
from services.history.ports import ConversationFilter
from tests.unit.history.conftest import Copies, opened

BEGAN = datetime(2026, 5, 1, tzinfo=UTC)
USER, CONVERSATION = new_id(), new_id()
TURNS = [new_id(), new_id()]


def envelope(kind: str, seconds: int) -> Envelope:
    return Envelope(new_id(), CONVERSATION, USER, BEGAN + timedelta(seconds=seconds), kind)


def turn(index: int, seconds: int, said: str) -> TurnFinished:
    return TurnFinished(
        envelope("turn", seconds),
        turn_id=TURNS[index],
        number=index + 1,
        started_at=BEGAN + timedelta(seconds=seconds),
        learner_text=said,
        tutor_text="so it is",
        words=2,
        speech_ms=1000,
        silence_ms=300 + index,
        body=said.encode(),
    )


def assessed(seconds: int, *keys: str) -> Assessed:
    mistakes = tuple(FoundMistake(1, key, key.encode()) for key in keys)
    return Assessed(envelope("assessed", seconds), TURNS[0], mistakes, ",".join(keys).encode())


RECORDINGS = [new_id(), new_id()]
EVENTS: list[Event] = [
    Started(envelope("started", 0), "cafe", "Café", "local", "v"),
    turn(0, 10, "first words"),
    turn(1, 20, "second words"),
    turn(1, 30, "second words, told again"),
    assessed(40, "a", "b"),
    assessed(50, "b"),
    RecordingStored(envelope("recording", 60), RECORDINGS[0]),
    RecordingStored(envelope("recording", 61), RECORDINGS[1]),
    Ended(envelope("ended", 70)),
]


async def state(history: History, database: Database) -> tuple[Any, ...]:
    """Return all that can be asked."""
    listed = await history.conversations(ConversationFilter(USER), 0, "")
    page = await history.conversation(USER, CONVERSATION, 0, "")
    found = [await history.search(USER, text, 0, "") for text in ("words", "again", "is")]
    mistakes = await history.mistakes(USER, 0, 0, "")
    async with database.snapshot() as session:
        rows = (await session.connection()).exec_driver_sql
        outbox = (await rows("SELECT aggregate_id FROM outbox")).all()
    return (
        listed.conversations,
        page.conversation,
        page.turns,
        [sorted((each.turn_id, each.tutor) for each in matches.matches) for matches in found],
        [(each.key, each.count) for each in mistakes.mistakes],
        outbox,
    )


@pytest.fixture(scope="module")
def expected() -> list[object]:
    return []


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    order=st.permutations([*range(len(EVENTS)), 0, 3, 5, 7]),
    cuts=st.sets(st.integers(0, len(EVENTS) + 4)),
)
async def test_any_order_repetition_and_batching_ends_in_the_same_history(
    order: list[int], cuts: set[int], expected: Any, copies: Copies
) -> None:
    bounds = sorted({0, *cuts, len(order)})
    async with opened(copies) as (history, database):
        stored = 0
        for first, last in itertools.pairwise(bounds):
            ingested = await history.ingest([EVENTS[at] for at in order[first:last]])
            stored += ingested.stored
        assert stored == len(EVENTS)
        found = await state(history, database)
    if not expected:
        # What each order must come to is told by hand only in part; the rest by the first order.
        _, conversation, turns, *_ = found
        assert [turn.turn for turn in turns] == [b"first words", b"second words, told again"]
        assert turns[0].feedback == b"b"
        assert conversation.recording_id == RECORDINGS[1]
        assert (conversation.scenario_id, conversation.started_at) == ("cafe", BEGAN)
        expected.append(found)
    assert found == expected[0]


@settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(order=st.permutations(range(len(EVENTS))), when=st.integers(0, len(EVENTS)))
async def test_after_a_deletion_nothing_comes_back_in_any_order(
    order: list[int], when: int, copies: Copies
) -> None:
    async with opened(copies) as (history, database):
        before, after = order[: max(when, 1)], order[max(when, 1) :]
        await history.ingest([EVENTS[at] for at in before])
        await history.delete(USER, CONVERSATION)
        for at in [*after, *before]:
            assert (await history.ingest([EVENTS[at]])).stored == 0
        assert not (await history.conversations(ConversationFilter(USER), 0, "")).conversations
        assert not (await history.search(USER, "words", 0, "")).matches
        async with database.snapshot() as session:
            rows = (await session.connection()).exec_driver_sql
            deleted = {row[0] for row in (await rows("SELECT aggregate_id FROM outbox")).all()}
            search = ("search_texts", "search_segments", "search_index")
            for table in ("turns", "feedback", "mistakes", "events", "practice", *search):
                assert (await rows(f"SELECT count(*) FROM {table}")).scalar() == 0
        assert deleted == set(RECORDINGS)


async def test_what_comes_at_once_from_several_is_stored_once(copies: Copies) -> None:
    async with opened(copies) as (history, database):
        batches = [EVENTS, EVENTS[::-1], EVENTS[3:], EVENTS[:5], *([each] for each in EVENTS)]
        ingested = await asyncio.gather(*(history.ingest(batch) for batch in batches))
        assert sum(each.stored for each in ingested) == len(EVENTS)
        _, conversation, turns, *_ = await state(history, database)
    assert [turn.turn for turn in turns] == [b"first words", b"second words, told again"]
    assert conversation.totals.turns == 2


async def test_an_event_has_no_more_read_of_what_was_said_than_the_beginning(
    copies: Copies,
) -> None:
    """All of a talk was read for each of its events: an hour's talk cost a square of its turns."""
    read: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith("SELECT") and " turns" in statement:
            read.append(statement)

    async with opened(copies) as (history, _):
        blank = [
            dataclasses.replace(turn(0, each, "  "), turn_id=new_id(), number=each, tutor_text="")
            for each in range(1, 8)
        ]
        said = dataclasses.replace(turn(1, 9, "At last"), number=9)
        await history.ingest([*blank, said])
        sqlalchemy.event.listen(sqlalchemy.Engine, "before_cursor_execute", note)
        try:
            await history.ingest([EVENTS[0], EVENTS[6], EVENTS[8]])
            assert read == [], "they change nothing that is added up"
            await history.ingest([dataclasses.replace(turn(0, 10, "later"), number=10)])
            texts = [each for each in read if "learner_text" in each]
            assert texts
            assert all("LIMIT" in each for each in texts)
        finally:
            sqlalchemy.event.remove(sqlalchemy.Engine, "before_cursor_execute", note)
        page = await history.conversations(ConversationFilter(USER), 0, "")
        (conversation,) = page.conversations
        assert conversation.totals.preview == "At last"
        assert conversation.totals.turns == 9


async def test_the_revisions_make_exactly_the_tables(database_url: str) -> None:
    await migrate(database_url, MIGRATIONS)
    drift = schema_drift(database_url, Base.metadata)
    # The tables of the search index are the database's own kind.
    assert [each for each in drift if "search_index" not in str(each)] == []


async def test_exports_that_nobody_reads_on_keep_nobody_from_reading(copies: Copies):
    """Each held one of the few connections for as long as its reader liked."""
    async with opened(copies) as (history, _), contextlib.AsyncExitStack() as stack:
        await history.ingest([turn(0, 1, "first"), turn(1, 2, "second")])
        async with asyncio.timeout(8):
            for _ in range(12):
                exported = await stack.enter_async_context(
                    contextlib.aclosing(history.export(USER, []))
                )
                _, turns = await anext(exported)
                await anext(turns)
                stack.push_async_callback(turns.aclose)
            assert (await history.conversation(USER, CONVERSATION, 0, "")).turns


async def test_the_words_of_an_erased_user_are_in_no_file(tmp_path):
    """The index over what was said only marks what is removed, until it is told to let it go."""
    url = f"sqlite+aiosqlite:///{tmp_path}/history.sqlite3"
    await migrate(url, MIGRATIONS)
    async with Database.open(url) as database:
        clock = ManualClock()
        store = SqlStore(database, Outbox(OutboxRow, clock), clock)
        history = History(store, lambda: None, AuditTrail(tmp_path / "audit", clock, days=0))
        await history.ingest([turn(0, 1, "the canarybird sang")])
        await database.scrub()

        def files_with(word: bytes) -> list[str]:
            files = (each for each in tmp_path.rglob("*") if each.is_file())
            return [each.name for each in files if word in each.read_bytes()]

        assert files_with(b"canarybird") == ["history.sqlite3"]
        assert await history.erase_user(USER) == 1
        assert files_with(b"canarybird") == []


async def test_what_comes_is_watched_with_what_became_of_it(copies: Copies) -> None:
    watched: list[Any] = []

    class Watch:
        def took(self, ingested: Ingested) -> None:
            watched.append((ingested.stored, ingested.known, len(ingested.times)))

        def refused(self, reason: str) -> None:
            watched.append(reason)

    async with opened(copies) as (_, database):
        clock = ManualClock()
        store = SqlStore(database, Outbox(OutboxRow, clock), clock)
        with TemporaryDirectory() as folder:
            audit = AuditTrail(Path(folder), clock, days=0)
            history = History(store, lambda: None, audit, Watch())
            await history.ingest(EVENTS[:3])
            await history.ingest(EVENTS[1:4])
            with pytest.raises(InvalidArgument):
                await history.ingest([dataclasses.replace(turn(0, 99, "x"), number=7)])
    assert watched == [(3, 0, 3), (1, 2, 1), "EVENT_INVALID"]
