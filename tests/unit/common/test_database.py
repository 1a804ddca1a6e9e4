"""Units of work on SQLite: durability settings, isolation, order, typed failures."""

import asyncio
import threading
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import aiosqlite
import pytest
from sqlalchemy import String, func, select, text
from sqlalchemy.exc import IntegrityError, StatementError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from services.common.database import Database, Work, _is_open
from services.common.errors import InvalidArgument, Unavailable
from services.common.timestamps import UtcDateTime, from_timestamp, to_timestamp
from tests.postgres import empty_database, set_read_only


class Base(DeclarativeBase):
    pass


class Thing(Base):
    __tablename__ = "things"

    name: Mapped[str] = mapped_column(String, primary_key=True)
    at: Mapped[datetime] = mapped_column(UtcDateTime)


NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
async def database(tmp_path: Path):
    async with Database.open(f"sqlite+aiosqlite:///{tmp_path}/deep/er/x.sqlite3") as database:
        async with database.engine.begin() as connection:
            await connection.run_sync(Base.metadata.create_all)
        yield database


async def count(database: Database) -> int:
    async with database.snapshot() as session:
        return await session.scalar(select(func.count()).select_from(Thing)) or 0


@pytest.mark.parametrize(
    ("pragma", "value"),
    [("journal_mode", "wal"), ("synchronous", 2), ("foreign_keys", 1), ("busy_timeout", 10_000)],
)
async def test_every_connection_is_set_up_for_durability(database, pragma, value):
    async with database.snapshot() as session:
        assert (await session.scalar(text(f"PRAGMA {pragma}"))) == value


async def test_a_failed_unit_of_work_leaves_nothing(database):
    with pytest.raises(ValueError, match="stop"):
        async with database.transaction() as session:
            session.add(Thing(name="a", at=NOW))
            await session.flush()
            raise ValueError("stop")
    assert await count(database) == 0


async def test_a_cancelled_unit_of_work_leaves_nothing_and_frees_the_writer(database):
    inside = asyncio.Event()

    async def hang() -> None:
        async with database.transaction() as session:
            session.add(Thing(name="a", at=NOW))
            await session.flush()
            inside.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(hang())
    await inside.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    async with database.transaction() as session:
        session.add(Thing(name="b", at=NOW))
    assert await count(database) == 1


async def test_read_then_write_transactions_never_lose_an_update(database):
    async with database.transaction() as session:
        session.add(Thing(name="counter", at=NOW))

    async def add_a_second() -> None:
        async with database.transaction() as session:
            thing = await session.get_one(Thing, "counter")
            thing.at += timedelta(seconds=1)

    await asyncio.gather(*(add_a_second() for _ in range(30)))
    async with database.snapshot() as session:
        assert (await session.get_one(Thing, "counter")).at == NOW + timedelta(seconds=30)


async def test_two_processes_worth_of_writers_wait_for_each_other(database, tmp_path):
    async with Database.open(str(database.engine.url)) as other:

        async def write(each: Database, name: str) -> None:
            async with each.transaction() as session:
                await session.scalar(select(func.count()).select_from(Thing))
                session.add(Thing(name=name, at=NOW))

        await asyncio.gather(*(write((database, other)[i % 2], f"thing {i}") for i in range(20)))
    assert await count(database) == 20


async def test_a_reader_does_not_wait_for_the_writer(database):
    async with database.transaction() as session:
        session.add(Thing(name="a", at=NOW))
        await session.flush()
        assert await count(database) == 0


async def test_a_broken_rule_of_the_schema_is_not_called_an_outage(database):
    async with database.transaction() as session:
        session.add(Thing(name="a", at=NOW))
    with pytest.raises(IntegrityError) as caught:
        async with database.transaction() as session:
            session.add(Thing(name="a", at=NOW))
    assert "hidden" in str(caught.value), "parameters may be speech and must not be in messages"


async def test_a_database_that_cannot_be_opened_is_unavailable(tmp_path):
    (tmp_path / "folder.sqlite3").mkdir()
    with pytest.raises(Unavailable) as caught:
        async with Database.open(f"sqlite+aiosqlite:///{tmp_path}/folder.sqlite3"):
            pass
    assert caught.value.reason == "DATABASE_UNAVAILABLE"


async def test_times_come_back_in_utc_and_naive_ones_are_refused(database):
    elsewhere = NOW.astimezone(timezone(timedelta(hours=8)))
    async with database.transaction() as session:
        session.add(Thing(name="a", at=elsewhere))
    async with database.snapshot() as session:
        thing = await session.get_one(Thing, "a")
        assert thing.at == NOW
        assert thing.at.utcoffset() == timedelta(0)
    with pytest.raises(StatementError):
        async with database.transaction() as session:
            session.add(Thing(name="b", at=NOW.replace(tzinfo=None)))


def test_protobuf_times_keep_microseconds_and_refuse_naive_ones():
    precise = NOW.replace(microsecond=123_456)
    assert from_timestamp(to_timestamp(precise)) == precise
    with pytest.raises(ValueError, match="timezone"):
        to_timestamp(precise.replace(tzinfo=None))


async def test_what_was_deleted_is_in_no_file_once_scrubbed(database, tmp_path):
    """Neither in a row marked free, nor in the write-ahead log."""

    def files_with(word: bytes) -> list[str]:
        folder = tmp_path / "deep" / "er"
        return [each.name for each in folder.iterdir() if word in each.read_bytes()]

    async with database.transaction() as session:
        session.add_all(Thing(name=f"canary-{number}" * 300, at=NOW) for number in range(50))
    await database.scrub()
    assert files_with(b"canary-7") == ["x.sqlite3"]
    async with database.transaction() as session:
        await session.execute(text("DELETE FROM things"))
    assert files_with(b"canary-7"), "until then it is there"
    await database.scrub()
    assert files_with(b"canary") == []


async def test_scrubbing_beside_a_reader_leaves_the_rest_to_the_next_time(database):
    async with database.transaction() as session:
        session.add(Thing(name="a", at=NOW))
    async with database.snapshot() as session:
        await session.scalar(select(func.count()).select_from(Thing))
        async with database.transaction() as other:
            other.add(Thing(name="b", at=NOW))
        await database.scrub()
    await database.scrub()
    assert await count(database) == 2


@pytest.mark.parametrize(
    ("pragma", "value"),
    [("journal_mode", "wal"), ("synchronous", 2), ("foreign_keys", 1), ("busy_timeout", 10_000)],
)
async def test_work_done_in_one_go_is_as_durable(database, pragma, value):
    asked = text(f"PRAGMA {pragma}")
    assert await database.write(lambda session: session.scalar(asked)) == value
    assert await database.read(lambda session: session.scalar(asked)) == value


async def test_work_that_fails_leaves_nothing_and_work_that_reads_stores_nothing(database):
    def fail(session: Session) -> None:
        session.add(Thing(name="a", at=NOW))
        session.flush()
        raise ValueError("stop")

    def store(session: Session) -> int:
        session.add(Thing(name="b", at=NOW))
        session.flush()
        return session.scalar(select(func.count()).select_from(Thing)) or 0

    with pytest.raises(ValueError, match="stop"):
        await database.write(fail)
    assert await count(database) == 0
    assert await database.read(store) == 1
    assert await count(database) == 0
    assert await database.write(store) == 1
    assert await count(database) == 1


async def test_cancelled_work_has_ended_before_others_write(database):
    begun, may_end = threading.Event(), threading.Event()

    def slow(session: Session) -> None:
        session.add(Thing(name="a", at=NOW))
        session.flush()
        begun.set()
        may_end.wait(10)

    task = asyncio.create_task(database.write(slow))
    await asyncio.to_thread(begun.wait, 10)
    task.cancel()
    other = asyncio.create_task(database.write(lambda session: session.get(Thing, "a")))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.sleep(0)
    assert not task.done()
    assert not other.done()
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await other) is not None


async def test_work_that_the_database_cannot_do_fails_as_unavailable(database):
    with pytest.raises(Unavailable) as raised:
        await database.write(lambda session: session.execute(text("SELECT * FROM missing")))
    assert raised.value.reason == "DATABASE_UNAVAILABLE"


async def test_a_full_disk_fails_as_unavailable_and_writing_goes_on_when_there_is_room(database):
    def put(count: int, pages: int) -> Work[None]:
        def work(session: Session) -> None:
            # SQLite says of a file that may not grow what it says of a disk that is full.
            session.execute(text(f"PRAGMA max_page_count = {pages}"))
            session.add_all([Thing(name=f"{name:>2000}", at=NOW) for name in range(count)])

        return work

    with pytest.raises(Unavailable) as raised:
        await database.write(put(50, 5))
    assert raised.value.reason == "DATABASE_UNAVAILABLE"
    assert "no room" in raised.value.message
    assert await count(database) == 0
    await database.write(put(50, 1_000_000))
    assert await count(database) == 50


async def test_a_postgresql_that_turns_read_only_is_unavailable_to_who_writes(postgres_url: str):
    """A managed server whose disk is full, the standby of a failover."""
    with empty_database(postgres_url) as url:
        async with Database.open(url) as database:
            async with database.engine.begin() as connection:
                await connection.run_sync(Base.metadata.create_all)
            set_read_only(url, "on")
            with pytest.raises(Unavailable) as raised:
                await database.write(lambda session: session.add(Thing(name="a", at=NOW)))
            assert raised.value.reason == "DATABASE_UNAVAILABLE"
            assert "read-only" in raised.value.message
            assert await count(database) == 0
            set_read_only(url, "off")
            await database.write(lambda session: session.add(Thing(name="a", at=NOW)))
            assert await count(database) == 1


@pytest.mark.parametrize(
    ("state", "said"),
    [("53100", "no room"), ("57P03", "starting"), ("25P03", "ended the transaction")],
)
async def test_what_else_is_the_servers_own_says_what_it_is(postgres_url: str, state, said):
    raising = f"DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = '{state}'; END $$"
    with empty_database(postgres_url) as url:
        async with Database.open(url) as database:
            with pytest.raises(Unavailable) as raised:
                await database.write(lambda session: session.execute(text(raising)))
    assert raised.value.reason == "DATABASE_UNAVAILABLE"
    assert said in raised.value.message


async def test_what_postgresql_cannot_hold_is_the_senders_fault(postgres_url: str):
    """No request gets so far; if one does, it is no crash of ours."""
    with empty_database(postgres_url) as url:
        async with Database.open(url) as database:
            with pytest.raises(InvalidArgument) as caught:
                await database.write(
                    lambda session: session.execute(select(Thing).where(Thing.name == "a\0b")).all()
                )
            assert caught.value.reason == "INVALID_REQUEST"
            # The connection is none the worse for it.
            assert await database.write(lambda session: session.scalar(text("SELECT 1"))) == 1


async def test_work_that_outlives_the_database_leaves_no_connection_open(tmp_path: Path):
    """Its file would stay open and its thread running, for the pool has forgotten it."""
    began, goes_on = asyncio.Event(), asyncio.Event()
    async with Database.open(f"sqlite+aiosqlite:///{tmp_path}/late.sqlite3") as database:
        drivers: list[Any] = []

        async def work() -> None:
            async with database.snapshot() as session:
                raw = await (await session.connection()).get_raw_connection()
                drivers.append(raw.driver_connection)
                began.set()
                await goes_on.wait()

        late = asyncio.create_task(work())
        await began.wait()
    with pytest.raises(ValueError, match="no active connection"):
        drivers[0].in_transaction  # noqa: B018 - it asks whether there is one
    goes_on.set()
    await asyncio.gather(late, return_exceptions=True)


async def test_work_that_outlives_the_database_leaves_no_session_on_the_server(postgres_url: str):
    began, goes_on = asyncio.Event(), asyncio.Event()
    with empty_database(postgres_url) as url:
        async with Database.open(url) as database:
            drivers: list[Any] = []

            async def work() -> None:
                async with database.snapshot() as session:
                    raw = await (await session.connection()).get_raw_connection()
                    drivers.append(raw.driver_connection)
                    began.set()
                    await goes_on.wait()

            late = asyncio.create_task(work())
            await began.wait()
        assert drivers[0].closed
        goes_on.set()
        await asyncio.gather(late, return_exceptions=True)


async def test_a_server_is_given_no_more_connections_than_allowed(postgres_url: str):
    """The third waits for one of the two; nobody's work is lost by it."""
    with empty_database(postgres_url) as url:
        async with Database.open(url, connections=2) as database:
            inside, both = 0, asyncio.Event()
            there = text("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()")

            async def work() -> int:
                nonlocal inside
                async with database.snapshot() as session:
                    await session.execute(text("SELECT 1"))
                    # The first two wait for each other. Later ones may not: a pool that gets two
                    # connections back at once gives one of them to who waits, and closes the other.
                    inside += 1
                    if inside == 2:
                        both.set()
                    await both.wait()
                    return (await session.execute(there)).scalar_one()

            assert max(await asyncio.gather(*(work() for _ in range(8)))) == 2


async def test_one_that_its_thread_has_just_closed_is_not_closed_again():
    connection = await aiosqlite.connect(":memory:")
    raw = connection._conn
    await connection._execute(raw.close)
    try:
        assert not _is_open(connection)
    finally:
        await connection.close()
