"""Units of work that are done together: each as if it were alone, all in one transaction."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import select, text
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from services.common.database import Database
from services.common.errors import Unavailable
from services.common.joint_writes import MOST_TOGETHER


class Base(DeclarativeBase):
    pass


class Thing(Base):
    __tablename__ = "joint_things"

    number: Mapped[int] = mapped_column(primary_key=True)


@pytest.fixture
async def database(tmp_path: Path):
    async with Database.open(f"sqlite+aiosqlite:///{tmp_path}/x.sqlite3") as database:
        async with database.engine.begin() as connection:
            await connection.run_sync(Base.metadata.create_all)
        yield database


async def kept(database: Database) -> list[int]:
    return await database.read(lambda session: list(session.scalars(select(Thing.number))))


def adding(number: int, seen: list[int] | None = None) -> Callable[[Session], int]:
    """Return work that adds a number, notes in which session, and returns how many there are."""

    def work(session: Session) -> int:
        session.execute(text(f"INSERT INTO joint_things VALUES ({number})"))
        if seen is not None:
            seen.append(id(session))
        return len(session.scalars(select(Thing.number)).all())

    return work


def failing(session: Session) -> None:
    session.execute(text("INSERT INTO joint_things VALUES (1000)"))
    raise ValueError("stop")


async def while_the_writer_is_busy(database: Database, *works: Callable[[Session], object]):
    """Let the works come while somebody else writes; return what they return or raise."""
    async with database.transaction():
        tasks = [asyncio.create_task(database.write_jointly(work)) for work in works]
        # Each has begun, and waits.
        await asyncio.sleep(0)
    return await asyncio.gather(*tasks, return_exceptions=True)


async def test_what_waits_for_the_writer_is_done_in_one_transaction_in_order(database):
    seen: list[int] = []
    counts = await while_the_writer_is_busy(database, *(adding(each, seen) for each in range(5)))
    assert counts == [1, 2, 3, 4, 5]
    assert len(set(seen)) == 1
    assert await kept(database) == [0, 1, 2, 3, 4]


async def test_no_more_are_joined_than_one_may_wait_for(database):
    seen: list[int] = []
    works = [adding(each, seen) for each in range(MOST_TOGETHER + 1)]
    await while_the_writer_is_busy(database, *works)
    first, last = seen[:MOST_TOGETHER], seen[MOST_TOGETHER:]
    assert len(set(first)) == 1
    assert len(last) == 1
    assert await kept(database) == list(range(MOST_TOGETHER + 1))


async def test_a_failure_is_nobody_elses(database):
    outcomes = await while_the_writer_is_busy(database, adding(1), failing, adding(2))
    assert outcomes[0] == 1
    assert isinstance(outcomes[1], ValueError)
    assert outcomes[2] == 2
    assert await kept(database) == [1, 2]


async def test_alone_it_fails_as_any_other_and_the_next_is_done(database):
    with pytest.raises(ValueError, match="stop"):
        await database.write_jointly(failing)
    assert await database.write_jointly(adding(1)) == 1


async def test_cancelled_work_has_ended_before_its_caller_goes_on(database):
    async with database.transaction():
        task = asyncio.create_task(database.write_jointly(adding(1)))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.sleep(0)
        assert not task.done()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await kept(database) == [1]


async def test_a_database_that_fails_fails_for_all(database):
    def broken(session: Session) -> None:
        session.execute(text("INSERT INTO nowhere VALUES (1)"))

    outcomes = await while_the_writer_is_busy(database, broken, broken)
    assert [type(each) for each in outcomes] == [Unavailable, Unavailable]
