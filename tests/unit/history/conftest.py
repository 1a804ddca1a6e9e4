"""Databases with the tables of history, of each kind, made quickly again and again."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg
import pytest
from psycopg.sql import SQL
from sqlalchemy.engine import make_url

from services.common.audit import AuditTrail
from services.common.clock import ManualClock
from services.common.database import Database
from services.common.migrations import migrate
from services.common.outbox import Outbox
from services.history.adapters.store import SqlStore
from services.history.adapters.tables import Base, OutboxRow
from services.history.application import History
from services.history.bootstrap import MIGRATIONS
from tests.postgres import empty_database

Copies = Callable[[], AbstractContextManager[str]]
"""Has a database with the service's tables, empty, for a block; gives its URL. One at a time."""


@pytest.fixture(params=["sqlite", "postgresql"], scope="session")
def copies(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Copies:
    if request.param == "sqlite":
        model = tmp_path_factory.mktemp("model") / "history.sqlite3"
        asyncio.run(migrate(f"sqlite+aiosqlite:///{model}", MIGRATIONS))

        @contextmanager
        def copied() -> Iterator[str]:
            with TemporaryDirectory() as folder:
                shutil.copy(model, folder)
                yield f"sqlite+aiosqlite:///{folder}/{model.name}"

        return copied
    migrated: str = request.getfixturevalue("migrated_on_postgres")

    @contextmanager
    def emptied() -> Iterator[str]:
        # A database of its own would take the server twenty times as long.
        tables = [table.name for table in reversed(Base.metadata.sorted_tables)]
        plain = make_url(migrated).set(drivername="postgresql")
        with psycopg.connect(plain.render_as_string(hide_password=False)) as connection:
            # TRUNCATE would make every table's and index's file anew, for a few rows.
            for table in [*tables, "search_index"]:
                connection.execute(SQL(f"DELETE FROM {table}"))
        yield migrated

    return emptied


@pytest.fixture(scope="session")
def migrated_on_postgres(postgres_url: str) -> Iterator[str]:
    with empty_database(postgres_url) as url:
        asyncio.run(migrate(url, MIGRATIONS))
        yield url


@asynccontextmanager
async def opened(copies: Copies) -> AsyncIterator[tuple[History, Database]]:
    with copies() as url, TemporaryDirectory() as folder:
        async with Database.open(url) as database:
            clock = ManualClock()
            store = SqlStore(database, Outbox(OutboxRow, clock), clock)
            audit = AuditTrail(Path(folder), clock, days=0)
            yield History(store, lambda: None, audit), database
