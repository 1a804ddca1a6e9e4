"""A service's data as one SQLite file, from a database that others write to, and back into one.

Whatever kind of database it comes from, a backup holds it as a SQLite file of the same tables. So
one copy fits both kinds, revisions bring an old copy forward before it is put anywhere, and
whoever has no Parley at hand can read it with any SQLite.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, MetaData, Table, func, insert, inspect, make_url, select, text
from sqlalchemy.engine import URL
from sqlalchemy.orm import Session

from admin.backup.manifest import Tables
from admin.errors import AdminError, DamagedBackupError
from admin.installation import Keeper
from admin.schema import Standing, bring_forward, connected, failures_of, look
from services.common.database_url import sqlite_url

Told = Callable[[int], None]
"""Called with each number of bytes, or rows, that was done."""

# Rows carried at a time, each of some kilobytes at most.
_AT_ONCE = 2_000

# So many of SQLite's steps take a hundredth of a second or so.
_STEPS = 1_000_000

# Of a file's size, before it is copied: rows are counted in their place on a server.
_ROW_BYTES = 500


def url_of(file: Path) -> URL:
    """Return the URL of a SQLite file."""
    return make_url(sqlite_url(file))


def estimated_bytes(keeper: Keeper) -> int:
    """Return about how many bytes `copy_out` will tell of; 0 where there is no database.

    Raises:
        AdminError: it does not answer.
    """
    if keeper.file is not None:
        return keeper.file.stat().st_size if keeper.file.is_file() else 0
    with failures_of(keeper), connected(keeper.url) as connection:
        return sum(_counts(connection, keeper.metadata).values()) * _ROW_BYTES


def copy_out(keeper: Keeper, file: Path, told: Told) -> Tables:
    """Copy one moment's state of a service's data to the new SQLite file `file`.

    Nobody who writes meanwhile waits for it.

    Raises:
        AdminError: the database does not answer, its tables are not those of this Parley, or the
            disk is full.
        DamagedBackupError: SQLite finds them broken.
    """
    schema = look(keeper)
    if schema.revision is None:
        raise AdminError(f"The {keeper.name} service has no tables yet.")
    if schema.standing is Standing.AHEAD:
        raise AdminError(
            f"The tables of the {keeper.name} service are a newer Parley's ({schema.revision}).",
            "Back it up with that version.",
        )
    with failures_of(keeper):
        if keeper.file is not None:
            _vacuum_into(keeper.file, file, told)
        elif schema.standing is Standing.BEHIND:
            raise AdminError(
                f"The tables of the {keeper.name} service are at {schema.revision}, not at "
                f"{schema.newest}.",
                "`parley admin migrate` brings them there; or back up with the older version.",
            )
        else:
            bring_forward(keeper, url_of(file))
            with _snapshot(keeper.url) as source, writing(file) as target:
                copy_rows(keeper.metadata, source, target, lambda rows: told(rows * _ROW_BYTES))
    _check_whole(keeper, file)
    with connected(url_of(file)) as connection:
        rows = _counts(connection, keeper.metadata)
    return Tables(schema.revision, keeper.kind, keeper.is_sqlite or not keeper.reindex, rows)


def bring_copy_forward(keeper: Keeper, file: Path, *, indexed: bool) -> None:
    """Bring a copy to this Parley's revision, with its search index, and look whether it is whole.

    Raises:
        DamagedBackupError: it is not.
        AdminError: a revision failed.
    """
    bring_forward(keeper, url_of(file))
    with failures_of(keeper), writing(file) as connection:
        if keeper.reindex is not None and not indexed:
            _reindex(keeper, connection)
    _check_whole(keeper, file)


def put_in(keeper: Keeper, file: Path, told: Told, *, replace: bool) -> None:
    """Put a copy, brought forward, into the service's schema on a server: all of it or nothing.

    replace: what is in its tables goes.

    Raises:
        AdminError: the database does not answer, holds something, or does not take it.
    """
    bring_forward(keeper)
    tables = keeper.metadata.sorted_tables
    with failures_of(keeper), connected(url_of(file)) as source, connected(keeper.url) as target:
        # Nobody else writes from here on, should a service still run.
        names = ", ".join(_quoted(target, each) for each in tables)
        target.execute(text(f"LOCK TABLE {names} IN EXCLUSIVE MODE"))
        if replace:
            target.execute(text(f"TRUNCATE {names} CASCADE"))
        elif any(_counts(target, keeper.metadata).values()):
            raise AdminError(f"The tables of the {keeper.name} service are not empty any more.")
        copy_rows(keeper.metadata, source, target, lambda rows: told(rows * _ROW_BYTES))
        if keeper.reindex is not None:
            _reindex(keeper, target)
        for table in tables:
            _go_on_counting(target, table)
        target.commit()


def rows_in(keeper: Keeper) -> int:
    """Return how many rows a service has in all its tables; 0 where it has none.

    Raises:
        AdminError: the database does not answer.
    """
    if keeper.file is not None and not keeper.file.is_file():
        return 0
    with failures_of(keeper), connected(keeper.url) as connection:
        return sum(_counts(connection, keeper.metadata).values())


@contextmanager
def writing(file: Path) -> Iterator[Connection]:
    """Yield a connection to a copy; what was done is kept where the block ends well."""
    with connected(url_of(file)) as connection, connection.begin():
        yield connection


def settle(file: Path) -> None:
    """Have all of a copy in its one file, and on the disk."""
    with closing(sqlite3.connect(file)) as raw:
        raw.execute("PRAGMA journal_mode = DELETE")


def copy_rows(metadata: MetaData, source: Connection, target: Connection, told: Told) -> None:
    """Copy every row of every table, in the order in which they refer to each other."""
    for table in metadata.sorted_tables:
        columns = [each for each in table.columns if each.computed is None]
        found = source.execute(select(*columns), execution_options={"yield_per": _AT_ONCE})
        for part in found.mappings().partitions():
            target.execute(insert(table), [dict(row) for row in part])
            told(len(part))


@contextmanager
def _snapshot(url: URL) -> Iterator[Connection]:
    """Yield a connection that sees one moment for as long as it is used, and changes nothing."""
    with connected(url) as connection:
        yield connection.execution_options(
            isolation_level="REPEATABLE READ", postgresql_readonly=True
        )


def _vacuum_into(file: Path, copy: Path, told: Told) -> None:
    """Have SQLite write one moment's state to a new file, its write-ahead log included."""
    done = 0

    def look_at() -> int:
        nonlocal done
        size = copy.stat().st_size if copy.exists() else 0
        told(max(0, size - done))
        done = max(done, size)
        return 0

    path = str(file).replace("%", "%25").replace("?", "%3f").replace("#", "%23")
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=rw", uri=True, timeout=10)) as raw:
            raw.set_progress_handler(look_at, _STEPS)
            raw.execute("VACUUM INTO ?", (str(copy),))
    except sqlite3.Error as error:
        raise AdminError(f"{file} cannot be copied: {error}.") from error
    look_at()
    # The copy is as private as what it is of, whatever the process's umask.
    copy.chmod(0o600)


def _check_whole(keeper: Keeper, file: Path) -> None:
    """Refuse a copy that SQLite finds broken: of what is broken there, it is no copy.

    Raises:
        DamagedBackupError: it is.
    """
    with closing(sqlite3.connect(file)) as raw:
        found = [str(row[0]) for row in raw.execute("PRAGMA integrity_check(5)")]
        loose = [f"row of {row[0]}" for row in raw.execute("PRAGMA foreign_key_check").fetchmany(5)]
    if found != ["ok"] or loose:
        what = "; ".join(each for each in (*found, *loose) if each != "ok")
        raise DamagedBackupError(f"The data of the {keeper.name} service is broken: {what}.")


def _counts(connection: Connection, metadata: MetaData) -> dict[str, int]:
    there = set(inspect(connection).get_table_names())
    counted = {}
    for table in metadata.sorted_tables:
        if table.name in there:
            found = connection.scalar(select(func.count()).select_from(table))
            counted[table.name] = int(found or 0)
    return counted


def _reindex(keeper: Keeper, connection: Connection) -> None:
    assert keeper.reindex is not None
    with Session(connection) as session:
        keeper.reindex(session)
        # The caller's transaction is what commits.
        session.flush()


def _go_on_counting(connection: Connection, table: Table) -> None:
    """Have the next row of a table that numbers its rows come after those that were put in."""
    key: list[Any] = list(table.primary_key.columns)
    if len(key) != 1 or key[0].type.python_type is not int:
        return
    sequence = connection.scalar(
        select(func.pg_get_serial_sequence(_quoted(connection, table), key[0].name))
    )
    last = connection.scalar(select(func.max(key[0])))
    if sequence is not None and last is not None:
        connection.execute(select(func.setval(sequence, last)))


def _quoted(connection: Connection, table: Table) -> str:
    return connection.dialect.identifier_preparer.format_table(table)
