"""Where a service's data is: a SQLite file of its own, or a schema of its own in PostgreSQL."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

SQLITE = "sqlite"
_POSTGRESQL = frozenset({"postgres", "postgresql", "postgresql+psycopg"})
_SEARCH_PATH = "-csearch_path="

# Of a server that is gone without a word the system knows after hours by itself: whoever waits for
# it, a turn that is to be stored, would wait for so long.
_PATIENCE = {
    "connect_timeout": "5",
    "tcp_user_timeout": "10000",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
}


class DatabaseUrlError(ValueError):
    """A URL that Parley cannot use. The message says why, and never holds the password."""


def sqlite_url(file: Path) -> str:
    """Return the async SQLAlchemy URL of a SQLite file."""
    return f"sqlite+aiosqlite:///{file}"


def postgresql_url(written: str, service: str) -> str:
    """Return the async SQLAlchemy URL of `service`'s schema in the database that `written` names.

    written: as libpq takes it, `postgresql://user:password@host:port/database?option=value`.

    Raises:
        DatabaseUrlError: it is none, or the driver is not installed.
    """
    try:
        url = make_url(written)
    except ArgumentError:
        raise DatabaseUrlError(
            "is no URL; write postgresql://user:password@host:port/database"
        ) from None
    if url.drivername not in _POSTGRESQL:
        raise DatabaseUrlError(
            f"names {url.drivername}; Parley keeps data in PostgreSQL, or without this in SQLite"
        )
    if not url.database:
        raise DatabaseUrlError("names no database; write …@host:port/database")
    if find_spec("psycopg") is None:
        raise DatabaseUrlError(
            "needs the package psycopg: `make engines`, or pip install 'parley-server[postgresql]'"
        )
    # The server takes the first schema of the path for all that a service says of its tables.
    given = url.query.get("options", "")
    options = " ".join(
        [*([given] if isinstance(given, str) else given), _SEARCH_PATH + _schema(service)]
    )
    url = url.set(drivername="postgresql+psycopg").update_query_dict({"options": options.strip()})
    url = url.update_query_dict(
        {name: value for name, value in _PATIENCE.items() if name not in url.query}
    )
    return url.render_as_string(hide_password=False)


def schema_of(url: URL) -> str | None:
    """Return the schema that `postgresql_url` put into a URL; None where there is none."""
    options = url.query.get("options", "")
    words = (options if isinstance(options, str) else " ".join(options)).split()
    return next(
        (each.removeprefix(_SEARCH_PATH) for each in words if each.startswith(_SEARCH_PATH)), None
    )


def _schema(service: str) -> str:
    # `user` alone is a word of SQL's own.
    return f"parley_{service}"
