"""A process of the version before goes on reading, writing and deleting after a newer one came.

Processes are replaced one after another, and the first new one brings the tables forward. So for
each revision of each service, what a process of the revision before says to its tables is said to
the new ones, with rows of both in them.
"""

from __future__ import annotations

import importlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import (
    JSON,
    Boolean,
    Connection,
    DateTime,
    Float,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    UniqueConstraint,
    create_engine,
    delete,
    event,
    insert,
    make_url,
    select,
    update,
)
from sqlalchemy.engine import Engine
from sqlalchemy.types import TypeDecorator

from services.common.database import configure_sqlite
from services.common.database_url import postgresql_url
from tests.postgres import empty_database

SERVICES = ("conversation", "history", "media", "user")
MORNING = datetime(2026, 3, 4, 5, 6, 7, 891_234, tzinfo=UTC)

# Its tables are each database's own kind: tests/unit/history/test_revisions.py has what is said
# to them.
SEARCH_INDEX = "search_index"


def migrations_of(service: str) -> Path:
    return Path(str(importlib.import_module(f"services.{service}").__file__)).with_name(
        "migrations"
    )


def revisions(folder: Path) -> list[str]:
    scripts = ScriptDirectory(str(folder))
    return [each.revision for each in reversed(list(scripts.walk_revisions()))]


@pytest.fixture(params=["sqlite", "postgresql"])
def engine_of(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    """Yield what opens an empty database of a service's, as its processes do."""
    with _database(request, tmp_path) as written:
        opened: list[Engine] = []

        def open_of(service: str) -> Engine:
            engine = create_engine(
                make_url(written)
                if written.startswith("sqlite")
                else postgresql_url(written, service)
            )
            if engine.dialect.name == "sqlite":
                event.listen(engine, "connect", configure_sqlite)
                event.listen(engine, "begin", lambda each: each.exec_driver_sql("BEGIN IMMEDIATE"))
            opened.append(engine)
            return engine

        yield open_of
        for each in opened:
            each.dispose()


@contextmanager
def _database(request: pytest.FixtureRequest, folder: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{folder}/parley.sqlite3"
        return
    with empty_database(request.getfixturevalue("postgres_url")) as url:
        yield url


async def test_every_service_is_tried() -> None:
    there = {each.parent.name for each in Path("services").glob("*/migrations")}
    assert there == set(SERVICES)


@pytest.mark.parametrize("service", SERVICES)
async def test_the_version_before_goes_on_beside_the_next(service: str, engine_of: Any) -> None:
    engine = engine_of(service)
    folder = migrations_of(service)
    if engine.dialect.name != "sqlite":
        with engine.begin() as connection:
            connection.exec_driver_sql(f"CREATE SCHEMA parley_{service}")
    steps = revisions(folder)
    bring_to(engine, folder, steps[0])
    for revision in steps[1:]:
        with engine.begin() as connection:
            old = reflected(connection)
            put(connection, old, range(3))
        bring_to(engine, folder, revision)
        with engine.begin() as connection:
            # What the new one writes beside it hangs on the same rows.
            new = reflected(connection)
            put(connection, new, range(3), but=set(old.tables))
            put(connection, old, range(3, 5))
            read(connection, old, rows=5)
            change(connection, old)
            put(connection, new, range(5, 7), but=set(new.tables) - set(old.tables))
            read(connection, old, rows=7)
            take_all_away(connection, old)
            read(connection, old, rows=0)
            take_all_away(connection, new)


def bring_to(engine: Engine, folder: Path, revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(folder).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    with engine.connect() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
        connection.commit()


def reflected(connection: Connection) -> MetaData:
    """Return the tables as they are now: what a process of this revision knows of them."""
    found = MetaData()
    found.reflect(
        connection,
        only=lambda name, _: name != "alembic_version" and not name.startswith(SEARCH_INDEX),
    )
    return found


def put(connection: Connection, known: MetaData, numbers: range, but: Collection[str] = ()) -> None:
    for table in known.sorted_tables:
        if table.name not in but:
            connection.execute(insert(table), [row_of(table, number) for number in numbers])


def read(connection: Connection, known: MetaData, rows: int) -> None:
    for table in known.sorted_tables:
        assert len(connection.execute(select(table)).all()) == rows, table.name


def change(connection: Connection, known: MetaData) -> None:
    """Write every column that names nothing."""
    for table in known.sorted_tables:
        named = {each.name for each in table.primary_key.columns}
        named |= {each.parent.name for each in table.foreign_keys}
        for one in table.constraints:
            if isinstance(one, UniqueConstraint):
                named |= {each.name for each in one.columns}
        values = {
            each.name: value_of(table, each, 1) for each in table.columns if each.name not in named
        }
        if values:
            connection.execute(update(table).values(values))


def take_all_away(connection: Connection, known: MetaData) -> None:
    """Delete every row, those that others hang on last."""
    for table in reversed(known.sorted_tables):
        connection.execute(delete(table))


def row_of(table: Table, number: int) -> dict[str, Any]:
    return {column.name: value_of(table, column, number) for column in table.columns}


def value_of(table: Table, column: Any, number: int) -> Any:
    for key in column.foreign_keys:
        return value_of(key.column.table, key.column, number)
    kind = column.type.impl if isinstance(column.type, TypeDecorator) else column.type
    if isinstance(kind, Boolean):
        return bool(number % 2)
    if isinstance(kind, Integer):
        return number + 7
    if isinstance(kind, Float):
        return number / 3
    if isinstance(kind, DateTime):
        return MORNING + timedelta(days=number)
    if isinstance(kind, LargeBinary):
        return bytes([number, 0, 255]) * 4
    if isinstance(kind, JSON):
        return [[number, 1]]
    assert isinstance(kind, String), f"what stands in {column} is not known here"
    return f"{table.name[:6]}{column.name[:6]}{number}"[: kind.length or 200]
