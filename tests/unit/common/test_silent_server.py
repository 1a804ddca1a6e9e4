"""A PostgreSQL that says nothing any more does not answer, and work goes on after it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import make_url, text
from structlog.testing import capture_logs

from services.common import silent_server
from services.common.database import Database
from services.common.errors import Unavailable
from tests.fault.line import Line, line

# Far more than a statement takes on a busy machine, and little to wait for.
WITHIN_S = 0.5


@pytest.fixture
async def cable(postgres_url: str) -> AsyncIterator[tuple[Line, str]]:
    """A line to PostgreSQL on which everything can go wrong, and the URL at its end."""
    url = make_url(postgres_url).set(drivername="postgresql+psycopg")
    async with line(url.port or 5432) as (one, port):
        # The driver takes no less.
        behind = url.set(host="127.0.0.1", port=port).update_query_dict({"connect_timeout": "2"})
        yield one, behind.render_as_string(hide_password=False)


async def test_whoever_waits_for_a_silent_server_is_told_in_time_and_the_next_is_answered(
    cable: tuple[Line, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the middle of a unit of work, and at the start of one: 45 s later both still waited."""
    one, url = cable
    monkeypatch.setattr(silent_server, "_PING_WITHIN_S", WITHIN_S)
    async with Database.open(url, answers_within_s=WITHIN_S) as database:
        gone = asyncio.Event()

        async def in_the_middle() -> None:
            async with database.transaction() as session:
                await session.execute(text("SELECT 1"))
                one.vanish()
                gone.set()
                await session.execute(text("SELECT 1"))

        async def anew() -> None:
            await gone.wait()
            await database.check()

        # Two connections, so that the second is one that worked before.
        await asyncio.gather(database.check(), database.check())
        async with asyncio.timeout(30):
            told = await asyncio.gather(in_the_middle(), anew(), return_exceptions=True)
        assert [getattr(each, "reason", each) for each in told] == ["DATABASE_UNAVAILABLE"] * 2
        one.mend()
        await database.check()


async def test_a_commit_that_is_never_answered_is_no_commit(cable: tuple[Line, str]) -> None:
    one, url = cable
    async with Database.open(url, answers_within_s=WITHIN_S) as database:

        async def work() -> None:
            async with database.transaction() as session:
                await session.execute(text("SELECT 1"))
                one.vanish()

        async with asyncio.timeout(30):
            with capture_logs() as said, pytest.raises(Unavailable) as caught:
                await work()
        assert caught.value.reason == "DATABASE_UNAVAILABLE"
        assert {"event": "database_silent", "log_level": "warning", "waited_s": WITHIN_S} in said


async def test_whoever_gives_up_on_a_silent_server_waits_no_longer_than_the_others(
    cable: tuple[Line, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The driver asks the server to cancel what was begun, and waits for it to say that it has."""
    one, url = cable
    asked = asyncio.Event()

    async def cannot(_self: object, *, timeout: float = 0) -> None:
        # Its way to the server is a new connection, which leads nowhere: seconds, by its own count.
        asked.set()

    monkeypatch.setattr(silent_server._Connection, "cancel_safe", cannot)
    async with Database.open(url, answers_within_s=WITHIN_S) as database:
        begun = asyncio.Event()

        async def work() -> None:
            async with database.transaction() as session:
                await session.execute(text("SELECT 1"))
                one.vanish()
                begun.set()
                await session.execute(text("SELECT 1"))

        working = asyncio.create_task(work())
        await begun.wait()
        await asyncio.sleep(0)
        working.cancel()
        async with asyncio.timeout(30):
            with pytest.raises(asyncio.CancelledError):
                await working
        one.mend()
        await database.check()
    assert asked.is_set()
