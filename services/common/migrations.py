"""Bringing a service's schema to its newest revision when the service starts.

A service keeps its revisions in `services/<name>/migrations/versions`; its `env.py` is

    from services.common.migrations import run_migrations
    from services.user.adapters.tables import Base

    run_migrations(Base.metadata)
"""

from __future__ import annotations

import asyncio
import fcntl
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command, context, op
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import MetaData, create_engine, event, inspect, make_url, text
from sqlalchemy.engine import URL, Connection
from sqlalchemy.schema import CreateSchema

from services.common.database import configure_sqlite, in_memory, prepare_sqlite_folder
from services.common.database_url import schema_of


async def migrate(url: str, script_location: Path) -> None:
    """Bring the database at `url` to the newest revision below `script_location`.

    Two processes may call this at once: the second waits for the first and finds nothing to do.
    Each revision is a transaction: a failed one leaves what those before it made, and
    the error is Alembic's or SQLAlchemy's.
    Not cancellable half-way: a cancelled caller waits for the revision in progress.
    """
    work = asyncio.create_task(asyncio.to_thread(_upgrade, make_url(url), script_location))
    try:
        await asyncio.shield(work)
    except asyncio.CancelledError:
        await asyncio.wait([work])
        raise


def run_migrations(metadata: MetaData) -> None:
    """Run what Alembic asked for; the whole of a service's `env.py`.

    Without a connection given by `migrate`, as under the `alembic` command for writing a new
    revision, the URL is `sqlalchemy.url` of the command's configuration.
    """
    connection = context.config.attributes.get("connection")
    if connection is not None:
        _run(connection, metadata)
        return
    with _connect(make_url(context.config.get_main_option("sqlalchemy.url") or "")) as connection:
        _run(connection, metadata)


@contextmanager
def kept_at_once() -> Iterator[Connection]:
    """Yield, within a revision, a connection for a part of it that is committed with the block.

    For filling what an earlier revision made: a process of the version before, which writes
    meanwhile, waits for no more than such a part. A revision that fails keeps the parts that were
    done, so it goes on with what is left when it is run again. SQLite lets only one write at a
    time: there it is the revision's own transaction.
    """
    connection = op.get_bind()
    if connection.dialect.name == "sqlite":
        yield connection
        return
    with connection.engine.begin() as own:
        yield own


def schema_drift(url: str, metadata: MetaData) -> list[Any]:
    """Return what the tables of `metadata` have and the database at `url` has not, or reversed.

    For the test that a service's revisions make exactly its tables.
    """
    with _connect(make_url(url)) as connection:
        found = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": True}
        )
        return list(compare_metadata(found, metadata))


def run_revisions(connection: Connection, script_location: Path, to: str = "head") -> None:
    """Run the revisions up to `to` in the connection's transaction, which is the caller's.

    A connection that is in none runs, and commits, each in one of its own.
    """
    config = _config(script_location)
    config.attributes["connection"] = connection
    command.upgrade(config, to)


def _config(script_location: Path) -> Config:
    config = Config()
    # ConfigParser reads % as interpolation.
    config.set_main_option("script_location", str(script_location).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def _upgrade(url: URL, script_location: Path) -> None:
    config = _config(script_location)
    newest = ScriptDirectory.from_config(config).get_current_head()
    with _file_lock(url), _connect(url) as connection, _session_lock(connection, script_location):
        _make_schema(connection, url)
        current = MigrationContext.configure(connection).get_current_revision()
        connection.rollback()
        if current == newest:
            return
        run_revisions(connection, script_location)
        connection.commit()


def _make_schema(connection: Connection, url: URL) -> None:
    schema = schema_of(url)
    if schema is not None and not inspect(connection).has_schema(schema):
        connection.execute(CreateSchema(schema))
    connection.commit()


def _run(connection: Connection, metadata: MetaData) -> None:
    context.configure(
        connection=connection,
        target_metadata=metadata,
        # SQLite cannot alter most of a table in place: Alembic copies it.
        render_as_batch=connection.dialect.name == "sqlite",
        compare_type=True,
        # A lock that one revision takes is not held while the next fills tables.
        transaction_per_migration=True,
    )
    with context.begin_transaction():
        context.run_migrations()


@contextmanager
def _connect(url: URL) -> Iterator[Connection]:
    engine = create_engine(_sync(url))
    if engine.dialect.name == "sqlite":
        prepare_sqlite_folder(url)
        event.listen(engine, "connect", configure_sqlite)
        # A revision is one transaction, schema changes included: SQLite can do that when the
        # driver does not commit behind our back.
        event.listen(engine, "begin", lambda each: each.exec_driver_sql("BEGIN IMMEDIATE"))
    try:
        with engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()


def _sync(url: URL) -> URL:
    # aiosqlite has no synchronous side; psycopg's name serves both.
    return url.set(drivername="sqlite") if url.get_backend_name() == "sqlite" else url


@contextmanager
def _file_lock(url: URL) -> Iterator[None]:
    """Hold the right to touch a SQLite file, waiting for it.

    SQLite's own locks would order the revisions; but the first connections of two processes,
    switching a new file to WAL, can refuse each other without waiting.
    """
    if url.get_backend_name() != "sqlite" or in_memory(url):
        yield
        return
    prepare_sqlite_folder(url)
    with Path(f"{url.database}.migrating").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def _session_lock(connection: Connection, script_location: Path) -> Iterator[None]:
    """Hold the right to migrate on a database server, waiting for it."""
    if connection.dialect.name == "sqlite":
        yield
        return
    # An advisory lock lives as long as the session that holds it, so a dead process frees it.
    key = zlib.crc32(script_location.parent.name.encode())
    connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": key})
    connection.commit()
    try:
        yield
    finally:
        connection.rollback()
        connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": key})
        connection.commit()
