"""Schemas are brought to their newest revision once, however many start together."""

import asyncio
import fcntl
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Column, Integer, MetaData, Table, insert, select
from sqlalchemy.exc import OperationalError, ProgrammingError

from services.common.database import Database
from services.common.database_url import postgresql_url
from services.common.migrations import migrate, schema_drift
from tests.postgres import empty_database

ENV = """\
from sqlalchemy import Column, Integer, MetaData, Table
from services.common.migrations import run_migrations
metadata = MetaData()
Table("things", metadata, Column("id", Integer, primary_key=True))
run_migrations(metadata)
"""

REVISION = """\
import sqlalchemy as sa
from alembic import op
revision = {revision!r}
down_revision = {down!r}
def upgrade():
    {body}
def downgrade():
    pass
"""


def write_revision(scripts: Path, revision: str, down: str | None, body: str) -> None:
    text = REVISION.format(revision=revision, down=down, body=body)
    (scripts / "versions" / f"{revision}.py").write_text(text)


@pytest.fixture
def scripts(tmp_path: Path) -> Path:
    # A percent sign in the path is what Alembic's configuration trips over.
    scripts = tmp_path / "100%" / "migrations"
    (scripts / "versions").mkdir(parents=True)
    (scripts / "env.py").write_text(ENV)
    body = "op.create_table('things', sa.Column('id', sa.Integer, primary_key=True))"
    write_revision(scripts, "0001", None, body)
    return scripts


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "db" / "x.sqlite3"


def url(file: Path) -> str:
    return f"sqlite+aiosqlite:///{file}"


def tables(file: Path) -> set[str]:
    connection = sqlite3.connect(file)
    try:
        return {row[0] for row in connection.execute("SELECT name FROM sqlite_master")}
    finally:
        connection.close()


async def test_a_new_database_gets_every_table(file, scripts):
    await migrate(url(file), scripts)
    assert "things" in tables(file)


async def test_a_second_time_finds_nothing_to_do(file, scripts):
    await migrate(url(file), scripts)
    await migrate(url(file), scripts)


async def test_many_that_start_at_once_migrate_once(file, scripts):
    await asyncio.gather(*(migrate(url(file), scripts) for _ in range(4)))
    assert "things" in tables(file)


async def test_a_second_process_waits_for_the_first(file, scripts):
    file.parent.mkdir()
    with Path(f"{file}.migrating").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        second = asyncio.create_task(migrate(url(file), scripts))
        # A whole migration takes a tenth of it.
        await asyncio.wait({second}, timeout=0.5)
        assert not second.done()
        assert not file.exists()
    await second
    assert "things" in tables(file)


async def test_a_revision_that_fails_leaves_the_schema_as_it_was(file, scripts):
    await migrate(url(file), scripts)
    body = "op.create_table('more', sa.Column('id', sa.Integer)); op.execute('NONSENSE')"
    write_revision(scripts, "0002", "0001", body)
    with pytest.raises(OperationalError):
        await migrate(url(file), scripts)
    assert "more" not in tables(file)


async def test_drift_between_tables_and_revisions_is_seen(file, scripts):
    await migrate(url(file), scripts)
    metadata = MetaData()
    Table("things", metadata, Column("id", Integer, primary_key=True))
    assert schema_drift(url(file), metadata) == []
    Table("forgotten", metadata, Column("id", Integer, primary_key=True))
    assert [change[0] for change in schema_drift(url(file), metadata)] == ["add_table"]


class TestPostgresql:
    """The same on a server: services share a database, and each has a schema."""

    @pytest.fixture
    def written(self, postgres_url: str) -> Iterator[str]:
        with empty_database(postgres_url) as url:
            yield url

    async def test_services_share_a_database_and_no_table(self, written: str, scripts: Path):
        urls = [postgresql_url(written, service) for service in ("user", "media")]
        for url in (*urls, *urls):
            await migrate(url, scripts)
        metadata = MetaData()
        things = Table("things", metadata, Column("id", Integer, primary_key=True))
        for url, count in zip(urls, (1, 0), strict=True):
            assert schema_drift(url, metadata) == []
            async with Database.open(url) as database, database.transaction() as session:
                if count:
                    await session.execute(insert(things).values(id=1))
                assert len((await session.execute(select(things))).all()) == count

    async def test_many_that_start_at_once_migrate_once(self, written: str, scripts: Path):
        url = postgresql_url(written, "user")
        await asyncio.gather(*(migrate(url, scripts) for _ in range(4)))
        assert schema_drift(url, MetaData())[0][0] == "remove_table"

    async def test_a_revision_that_fails_leaves_the_schema_as_it_was(
        self, written: str, scripts: Path
    ):
        url = postgresql_url(written, "user")
        await migrate(url, scripts)
        body = "op.create_table('more', sa.Column('id', sa.Integer)); op.execute('NONSENSE')"
        write_revision(scripts, "0002", "0001", body)
        with pytest.raises(ProgrammingError):
            await migrate(url, scripts)
        found = [change[1].name for change in schema_drift(url, MetaData())]
        assert found == ["things"]
