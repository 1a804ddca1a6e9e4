"""The database of the conversation service."""

import asyncio
import shutil
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import IntegrityError

from parley.conversation.v1 import conversation_pb2
from parley.history.v1 import history_pb2
from parley.types.v1 import feedback_pb2, turn_pb2
from services.common.clock import ManualClock
from services.common.database import Database
from services.common.ids import new_id
from services.common.migrations import migrate, schema_drift
from services.common.outbox import Outbox
from services.conversation.adapters.store import SqlStore
from services.conversation.adapters.tables import Base, OutboxRow
from services.conversation.bootstrap import MIGRATIONS
from services.conversation.events import KeepTurn
from services.conversation.journal import (
    ConversationBegun,
    ConversationOver,
    TurnAssessed,
    TurnFinished,
    TurnKept,
)

USER = "01900000-0000-7000-8000-000000000001"


@pytest.fixture
async def url(database_url: str) -> str:
    await migrate(database_url, MIGRATIONS)
    return database_url


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def database(url: str):
    async with Database.open(url) as opened:
        yield opened


@pytest.fixture
def store(database: Database, clock: ManualClock) -> SqlStore:
    return SqlStore(database, Outbox(OutboxRow, clock), clock)


def begun(clock: ManualClock) -> ConversationBegun:
    return ConversationBegun(
        conversation_id=new_id(),
        user_id=USER,
        handle_hash=bytes(32),
        start=conversation_pb2.StartSession(scenario_id="travel"),
        engine="scripted",
        voice="ada",
        scenario_id="travel",
        scenario_title="At the airport",
        input_rate_hz=16_000,
        output_rate_hz=24_000,
        recording_id=new_id(),
        at=clock.now(),
    )


def finished(
    conversation_id: str,
    number: int,
    clock: ManualClock,
    *,
    accounted_ms: int = 0,
    typical_pause_ms: int = 0,
    accounted_seq: int = 0,
) -> TurnFinished:
    turn = turn_pb2.Turn(turn_id=new_id(), number=number)
    turn.ended_at.FromDatetime(clock.now() + timedelta(seconds=10 * number))
    return TurnFinished(
        conversation_id, USER, turn, clock.now(), accounted_ms, typical_pause_ms, accounted_seq
    )


async def test_the_revisions_make_exactly_the_tables(url: str):
    assert await asyncio.to_thread(schema_drift, url, Base.metadata) == []


async def test_turns_and_their_events_are_written_together_and_once(
    store: SqlStore, database: Database, clock: ManualClock
):
    start = begun(clock)
    turn = finished(start.conversation_id, 1, clock)
    await store.write([start, turn])
    await store.write([start, turn])
    async with database.snapshot() as session:
        rows = list(await session.scalars(select(OutboxRow).order_by(OutboxRow.position)))
    assert [(row.type, row.sequence) for row in rows] == [
        ("conversation_started", 1),
        ("turn_finished", 2),
    ]
    event = history_pb2.ConversationEvent.FromString(rows[1].payload)
    assert (event.event_id, event.turn.turn_id) == (turn.event_id, turn.turn.turn_id)


async def test_two_turns_of_one_number_are_refused_with_everything_beside_them(
    store: SqlStore, clock: ManualClock
):
    start = begun(clock)
    await store.write([start, finished(start.conversation_id, 1, clock)])
    with pytest.raises(IntegrityError):
        await store.write([finished(start.conversation_id, number, clock) for number in (2, 1)])
    stored = await store.find_open(start.conversation_id)
    assert stored is not None
    assert [turn.number for turn in stored.turns] == [1]


async def test_an_open_conversation_can_be_found_and_an_ended_one_not(
    store: SqlStore, clock: ManualClock
):
    start = begun(clock)
    await store.write([start])
    stored = await store.find_open(start.conversation_id)
    assert stored is not None
    assert stored.start == start.start
    assert stored.started_at == start.at
    await store.write([ConversationOver(start.conversation_id, USER, 1000, clock.now())])
    assert await store.find_open(start.conversation_id) is None
    assert await store.find_open(new_id()) is None


async def test_abandoned_conversations_end_with_their_last_turn(
    store: SqlStore, clock: ManualClock
):
    start = begun(clock)
    await store.write([start, finished(start.conversation_id, 1, clock)])
    await clock.advance(3600)
    later = begun(clock)
    await store.write([later])
    found = await store.abandoned(clock.now() - timedelta(seconds=60))
    assert found == [(start.conversation_id, USER, 10_000)]


async def test_what_nobody_can_resume_is_deleted(store: SqlStore, clock: ManualClock):
    start = begun(clock)
    await store.write([start, finished(start.conversation_id, 1, clock)])
    await store.prune()
    assert await store.find_open(start.conversation_id) is not None
    await clock.advance(8 * 86_400)
    await store.prune()
    assert await store.find_open(start.conversation_id) is None


async def test_it_is_known_from_where_a_resumed_client_must_send_again(
    store: SqlStore, clock: ManualClock
):
    start = begun(clock)
    await store.write([start])
    stored = await store.find_open(start.conversation_id)
    assert stored is not None
    assert stored.accounted_ms == 0
    await store.write(
        [
            finished(start.conversation_id, number, clock, accounted_ms=number * 7_000)
            for number in (1, 2)
        ]
    )
    stored = await store.find_open(start.conversation_id)
    assert stored is not None
    assert stored.accounted_ms == 14_000


async def test_a_learners_pace_is_kept_across_conversations_and_not_for_ever(
    store: SqlStore, clock: ManualClock
):
    assert await store.typical_pause_ms(USER) == 0
    for pause_ms in (700, 0, 60_000, 900):
        start = begun(clock)
        turn = finished(start.conversation_id, 1, clock, typical_pause_ms=pause_ms)
        await store.write([start, turn])
    assert await store.typical_pause_ms(USER) == 900
    assert await store.typical_pause_ms(new_id()) == 0
    await clock.advance(366 * 86_400)
    await store.prune()
    assert await store.typical_pause_ms(USER) == 0


async def test_turns_of_the_first_schema_are_kept(tmp_path: Path, clock: ManualClock):
    address = f"sqlite+aiosqlite:///{tmp_path / 'old.sqlite3'}"
    first = tmp_path / "migrations"
    shutil.copytree(MIGRATIONS, first, ignore=shutil.ignore_patterns("000[2-9]*", "__pycache__"))
    await migrate(address, first)
    async with Database.open(address) as database, database.transaction() as session:
        await session.execute(
            text(
                "INSERT INTO conversations VALUES (:id, :user, x'00', x'', 'e', 'v', 's', 16000,"
                " 24000, 'r', '2026-01-01 00:00:00', NULL)"
            ),
            {"id": "c", "user": USER},
        )
        await session.execute(text("INSERT INTO turns VALUES ('t', 'c', 1, x'')"))
    await migrate(address, MIGRATIONS)
    async with Database.open(address) as database:
        stored = await SqlStore(database, Outbox(OutboxRow, clock), clock).find_open("c")
    assert stored is not None
    assert (len(stored.turns), stored.accounted_ms, stored.accounted_seq) == (1, 0, 0)
    assert stored.kept is None


async def test_of_the_turn_under_way_the_newest_is_kept(store: SqlStore, clock: ManualClock):
    start = begun(clock)
    turns = [turn_pb2.Turn(turn_id=new_id(), number=1, reply_text=text) for text in ("a", "a b")]
    entries = [TurnKept(start.conversation_id, KeepTurn(turn, 7, 8, 9)) for turn in turns]
    await store.write([start, entries[0]])
    await store.write([entries[1]])
    await store.write([finished(start.conversation_id, 1, clock, accounted_seq=2**40)])
    stored = await store.find_open(start.conversation_id)
    assert stored is not None
    assert stored.kept == KeepTurn(turns[1], 7, 8, 9)
    assert stored.accounted_seq == 2**40


async def test_a_deleted_users_events_go_when_nothing_else_is_left_of_their_sessions(
    store: SqlStore, clock: ManualClock, database: Database, monkeypatch: pytest.MonkeyPatch
):
    """History was away, or refused them, for longer than an ended session is kept."""
    monkeypatch.setattr("services.conversation.adapters.store._READ_AT_ONCE", 2)
    other = new_id()
    talks = [replace(begun(clock), user_id=user) for user in (USER, other, USER, USER)]
    for talk in talks[:3]:
        there, user = talk.conversation_id, talk.user_id
        turn = replace(finished(there, 1, clock), user_id=user)
        await store.write([talk, turn, ConversationOver(there, user, 1_000, clock.now())])
    await clock.advance(20 * 60)
    await store.prune()
    await store.write([talks[3]])
    # One of the two left is open, and another process may hold it.
    assert await store.erase_user(USER, ()) == (2, 1)
    async with database.snapshot() as session:
        left = set(await session.scalars(select(OutboxRow.aggregate_id)))
    assert left == {talks[1].conversation_id, talks[3].conversation_id}
    assert await store.erase_user(USER, ()) == (0, 1)


async def test_feedback_on_a_conversation_that_was_erased_leaves_no_trace(
    store: SqlStore, clock: ManualClock, database: Database
):
    conversation = begun(clock)
    there = conversation.conversation_id
    over = ConversationOver(there, USER, 1_000, clock.now())
    await store.write([conversation, finished(there, 1, clock), over])
    feedback = feedback_pb2.Feedback()
    await store.write([TurnAssessed(there, USER, new_id(), feedback, clock.now())])
    async with database.snapshot() as session:
        told = list(await session.scalars(select(OutboxRow.type)))
    assert told.count("turn_assessed") == 1
    await store.erase_user(USER, ())
    await store.write([TurnAssessed(there, USER, new_id(), feedback, clock.now())])
    async with database.snapshot() as session:
        assert not list(await session.scalars(select(OutboxRow.type)))
