"""Which revision each service's tables have, whether they are the models', and mending it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path

from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, event, inspect
from sqlalchemy.engine import URL, Connection
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from admin import anatomy
from admin.errors import AdminError
from admin.installation import Keeper
from services.common.database import configure_sqlite
from services.common.database_url import SQLITE, schema_of
from services.common.migrations import migrate


class Standing(StrEnum):
    """How a service's tables stand to what this Parley makes."""

    CURRENT = "current"
    ABSENT = "absent"
    BEHIND = "behind"
    AHEAD = "ahead"
    DRIFTED = "drifted"


@dataclass(frozen=True, slots=True)
class Schema:
    """What was found of one service's tables.

    revision: of the database; None where it has none.
    newest: the last revision that this Parley knows.
    drift: every difference from what the revisions make, in words; looked for at the newest alone.
    """

    service: str
    kind: str
    standing: Standing
    revision: str | None
    newest: str
    drift: tuple[str, ...] = ()


def newest_revision(keeper: Keeper) -> str:
    """Return the last revision of the service that this Parley knows."""
    newest, _ = _revisions(keeper.migrations)
    return newest


def knows_revision(keeper: Keeper, revision: str) -> bool:
    """Tell whether this Parley has a revision of the service's tables, so can bring it forward."""
    _, known = _revisions(keeper.migrations)
    return revision in known


@cache
def _revisions(folder: Path) -> tuple[str, frozenset[str]]:
    """Return the newest of the revisions in a folder, and all of them. Each is a module to load."""
    scripts = ScriptDirectory(str(folder))
    known = frozenset(each.revision for each in scripts.walk_revisions())
    return str(scripts.get_current_head()), known


def look(keeper: Keeper) -> Schema:
    """Look at a service's database; nothing is made or changed.

    Raises:
        AdminError: it does not answer, or is no database.
    """
    newest = newest_revision(keeper)
    if keeper.file is not None and not keeper.file.is_file():
        return Schema(keeper.name, keeper.kind, Standing.ABSENT, None, newest)
    with failures_of(keeper):
        with connected(keeper.url) as connection:
            revision = MigrationContext.configure(connection).get_current_revision()
        if revision is None:
            standing = Standing.ABSENT
        elif not knows_revision(keeper, revision):
            standing = Standing.AHEAD
        elif revision != newest:
            standing = Standing.BEHIND
        else:
            drift = drift_of(keeper)
            standing = Standing.DRIFTED if drift else Standing.CURRENT
            return Schema(keeper.name, keeper.kind, standing, revision, newest, drift)
    return Schema(keeper.name, keeper.kind, standing, revision, newest)


def bring_forward(keeper: Keeper, url: URL | None = None) -> None:
    """Bring a service's tables to the newest revision, made where there are none.

    url: where, if not where the service keeps its own.

    Raises:
        AdminError: the database does not answer, or is a newer Parley's.
    """
    target = (url or keeper.url).render_as_string(hide_password=False)
    with failures_of(keeper):
        asyncio.run(migrate(target, keeper.migrations))


def drift_of(keeper: Keeper) -> tuple[str, ...]:
    """Return how the tables differ from those that the revisions make, a line each.

    Keys, defaults and the search index are compared as well; empty where nothing differs.
    """
    with connected(keeper.url) as connection:
        found = anatomy.described(connection)
        return tuple(anatomy.differences(found, anatomy.wanted(connection, keeper.migrations)))


@contextmanager
def connected(url: URL) -> Iterator[Connection]:
    """Yield a connection for statements of the caller's own transactions; a missing file stays so.

    SQLite is set up as the services have it.
    """
    if url.get_backend_name() == SQLITE:
        # `rw`: opened, never made. The path is part of a URI then, in which ? and # mean something.
        path = str(url.database).replace("%", "%25").replace("?", "%3f").replace("#", "%23")
        engine = create_engine(
            f"sqlite:///file:{path}?mode=rw&uri=true", poolclass=NullPool, hide_parameters=True
        )
        event.listen(engine, "connect", configure_sqlite)
        event.listen(engine, "begin", lambda each: each.exec_driver_sql("BEGIN"))
    else:
        engine = create_engine(url, poolclass=NullPool, hide_parameters=True)
    try:
        with engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()


def has_schema(connection: Connection, url: URL) -> bool:
    """Tell whether the service's schema is there; SQLite has no such thing."""
    schema = schema_of(url)
    return schema is None or inspect(connection).has_schema(schema)


@contextmanager
def failures_of(keeper: Keeper) -> Iterator[None]:
    """Turn what the database's driver says into one sentence that names no value and no password.

    Raises:
        AdminError: in its place.
    """
    try:
        yield
    except SQLAlchemyError as error:
        said = str(getattr(error, "orig", None) or type(error).__name__).strip().splitlines()
        raise AdminError(
            f"The database of the {keeper.name} service ({keeper.kind}) cannot be used: {said[0]}",
            "Is it running, and is the environment the running Parley's?",
        ) from error
