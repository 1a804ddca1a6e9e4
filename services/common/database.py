"""A service's database: one engine, units of work, and SQLite set up for durability.

async with Database.open(url) as database:
    async with database.transaction() as session:   # BEGIN … COMMIT, or ROLLBACK on error
        session.add(row)
    async with database.snapshot() as session:      # reads only
        ...
    found = await database.write(work)              # work(session), in one transaction
    found = await database.write_jointly(work)      # the same, perhaps with others' work in it
    found = await database.read(work)

Where SQLite keeps the data each statement of the first two forms is handed to a thread and back,
at about 0.1 ms; the last three are handed over once and take a function of a plain session. What
happens many times a second is written like that.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Self, TypeVar
from weakref import WeakSet

from sqlalchemy import create_engine as create_sync_engine
from sqlalchemy import event, make_url, text
from sqlalchemy.engine import URL, Connection
from sqlalchemy.exc import DataError, DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import (
    AsyncEngine,
    AsyncSession,
    async_sessionmaker,
    create_async_engine,
)
from sqlalchemy.orm import Session, sessionmaker

from services.common.errors import InvalidArgument, Unavailable
from services.common.joint_writes import JointWrites

# A writer waits this long for another process's transaction (a migration, a backup) to end.
_SQLITE_BUSY_TIMEOUT_MS = 10_000

# How long nobody writes while readers are waited for, who stand in the way of a scrub.
_SCRUB_TIMEOUT_MS = 100

# Work waits this long for a connection to become free.
_POOL_TIMEOUT_S = 10

# SQLite runs a thread per connection; one writes at a time, so a few more for readers suffice.
_SQLITE_POOL = {"pool_size": 5, "max_overflow": 0, "pool_timeout": _POOL_TIMEOUT_S}

# PostgreSQL allows 100 connections by default: five services with two instances each fit.
SERVER_CONNECTIONS = 10

# Threads that work in SQLite by themselves: the one writer, and one that reads beside it.
_SQLITE_WORKERS = 2

# For the statement that a cut connection is in.
_STOPPED_WITHIN_S = 1.0

_BEGIN_OPTION = "parley_begin"

# What a database says of itself when it cannot do now what it is there for: PostgreSQL's SQLSTATE,
# SQLite's name for it. What is not here, and is no fault of a statement's, "does not answer".
_NOT_NOW = {
    # Its disk was filled and its operator locked it, or it is the standby of a failover.
    "25006": "The database takes no changes: it is read-only.",
    "SQLITE_READONLY": "The database takes no changes: it is read-only.",
    "53100": "The database has no room left on its disk.",
    "SQLITE_FULL": "The database has no room left on its disk.",
    "53300": "The database takes no more connections.",
    "57P01": "The database is being stopped.",
    "57P02": "The database is being stopped.",
    "57P03": "The database is starting or being stopped.",
    # It has ended a transaction that took too long, as its settings say.
    "25P03": "The database has ended the transaction.",
    "25P04": "The database has ended the transaction.",
}

T = TypeVar("T")

Work = Callable[[Session], T]
"""What is done in one unit of work: statements and arithmetic, nothing that waits for others."""


class Database:
    """An engine with its units of work. Make it with `Database.open`."""

    def __init__(self, engine: AsyncEngine) -> None:
        self.engine = engine
        self.is_sqlite = engine.dialect.name == "sqlite"
        reader = engine
        if self.is_sqlite:
            reader = engine.execution_options(**{_BEGIN_OPTION: "BEGIN"})
        self._write_sessions = async_sessionmaker(engine, expire_on_commit=False)
        self._read_sessions = async_sessionmaker(reader, expire_on_commit=False)
        # SQLite has one writer. Waiting for it here is first come, first served and costs no
        # thread; SQLite's own waiting polls, with pauses of up to 100 ms.
        self._writer = asyncio.Lock() if self.is_sqlite else None
        self._threads: _SqliteThreads | None = None
        if self._writer is not None and not in_memory(engine.url):
            self._threads = _SqliteThreads(engine.url, self._writer)

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        url: str,
        *,
        connections: int = SERVER_CONNECTIONS,
        answers_within_s: float | None = None,
    ) -> AsyncIterator[Self]:
        """Open the database at `url` (async SQLAlchemy form) until the block is left.

        A SQLite file and its folder are created when they are missing.

        connections: the most that there are to a server at once; half of them are kept.
        answers_within_s: a server that says nothing for so long to a statement does not answer;
            None: `silent_server.ANSWERS_WITHIN_S`. Infinite for jobs in which one takes minutes.

        Raises:
            Unavailable: DATABASE_UNAVAILABLE, when it does not answer.
        """
        engine = create_engine(url, connections, answers_within_s)
        opened = _Opened(engine)
        database: Self | None = None
        try:
            with _typed_failures():
                async with engine.connect() as connection:
                    await connection.execute(text("SELECT 1"))
            database = cls(engine)
            yield database
        finally:
            if database is not None and database._threads is not None:
                database._threads.close()
            # Shielded: a cancelled shutdown must still close the SQLite threads.
            await asyncio.shield(opened.close())

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncSession]:
        """A unit of work: committed when the block ends, rolled back when it raises.

        On SQLite transactions of one process run one at a time, in the order they came, so keep
        them short: no RPC and no model inside.

        Raises:
            Unavailable: DATABASE_UNAVAILABLE, when the database does not answer.
        """
        async with AsyncExitStack() as stack:
            if self._writer is not None:
                await stack.enter_async_context(self._writer)
            stack.enter_context(_typed_failures())
            yield await stack.enter_async_context(self._write_sessions.begin())

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[AsyncSession]:
        """A session for reading one consistent state; whatever it writes is rolled back."""
        async with AsyncExitStack() as stack:
            stack.enter_context(_typed_failures())
            yield await stack.enter_async_context(self._read_sessions())

    async def scrub(self) -> None:
        """Take what was deleted out of the files as well, once others have stopped reading it.

        SQLite overwrites deleted rows, but its write-ahead log has them until it begins anew. Where
        a reader prevents that, the next call does it. PostgreSQL has a vacuum of its own.

        Raises:
            Unavailable: DATABASE_UNAVAILABLE.
        """
        if self._writer is None:
            return
        async with self._writer, AsyncExitStack() as stack:
            stack.enter_context(_typed_failures())
            connection = await stack.enter_async_context(self.engine.connect())
            # Past SQLAlchemy, which would open a transaction: inside one it cannot be done.
            raw = await connection.get_raw_connection()
            driver: Any = raw.driver_connection
            for pragma in (
                # Others write again as soon as can be, whether it worked or not.
                f"busy_timeout = {_SCRUB_TIMEOUT_MS}",
                "wal_checkpoint(TRUNCATE)",
                f"busy_timeout = {_SQLITE_BUSY_TIMEOUT_MS}",
            ):
                await (await driver.execute(f"PRAGMA {pragma}")).close()

    async def write(self, work: Work[T]) -> T:
        """Do `work` in a transaction and return what it returns; roll back when it raises.

        Cancelled, it still waits until the transaction has ended one way or the other.

        Raises:
            Unavailable: DATABASE_UNAVAILABLE, when the database does not answer.
        """
        if self._threads is None:
            async with self.transaction() as session:
                return await session.run_sync(work)
        with _typed_failures():
            return await self._threads.write(work)

    async def write_jointly(self, work: Work[T]) -> T:
        """Do `work` in a transaction, on SQLite together with others that wait for its one writer.

        For what many callers do at once. `work` may be run twice, the first time in vain; all else
        is as `write` has it.

        Raises:
            Unavailable: DATABASE_UNAVAILABLE, when the database does not answer.
        """
        if self._threads is None:
            return await self.write(work)
        with _typed_failures():
            return await self._threads.write_jointly(work)

    async def read(self, work: Work[T]) -> T:
        """Do `work` on one consistent state; whatever it writes is rolled back.

        Raises:
            Unavailable: DATABASE_UNAVAILABLE, when the database does not answer.
        """
        if self._threads is None:
            async with self.snapshot() as session:
                return await session.run_sync(work)
        with _typed_failures():
            return await self._threads.read(work)

    async def check(self) -> None:
        """Ask the database for a trivial answer.

        Raises:
            Unavailable: DATABASE_UNAVAILABLE.
        """
        async with self.snapshot() as session:
            await session.execute(text("SELECT 1"))


class _Opened:
    """The connections of an engine, to close those as well that its pool does not hold.

    Work that is cut twice, or that ends after the engine was disposed of, gives its connection to
    nobody: SQLite's would keep its file open, and its thread running; PostgreSQL's its session.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._is_sqlite = engine.dialect.name == "sqlite"
        self._connections: WeakSet[Any] = WeakSet()
        event.listen(engine.sync_engine, "connect", self._add)

    def _add(self, connection: Any, _record: object) -> None:
        self._connections.add(connection.driver_connection)

    async def close(self) -> None:
        """Dispose of the engine, then stop what is left."""
        await self._engine.dispose()
        if not self._is_sqlite:
            for each in self._connections:
                await each.close()  # nothing, where it is closed
            return
        stopping = {each.stop() for each in self._connections if _is_open(each)}
        if stopping:
            # One that was about to stop by itself never says that it has.
            await asyncio.wait(stopping, timeout=_STOPPED_WITHIN_S)


def _is_open(connection: Any) -> bool:
    try:
        return connection.in_transaction is not None
    except (ValueError, sqlite3.ProgrammingError):
        # Its thread has closed it, perhaps at this moment.
        return False


class _SqliteThreads:
    """Whole units of work on a SQLite file, each in a thread: two hand-overs instead of dozens.

    writer: held while one writes.

    Full policy: what is more than the threads waits in their queue; writers were let in one at a
    time before, and each reader is a caller that waits.
    """

    def __init__(self, url: URL, writer: asyncio.Lock) -> None:
        # Opened when the first work comes: a service that never works like this has no threads.
        self._engine = create_sync_engine(
            url.set(drivername="sqlite"), hide_parameters=True, **_SQLITE_POOL
        )
        event.listen(self._engine, "connect", configure_sqlite)
        event.listen(self._engine, "begin", _begin_sqlite)
        reader = self._engine.execution_options(**{_BEGIN_OPTION: "BEGIN"})
        self._write_sessions = sessionmaker(self._engine, expire_on_commit=False)
        self._read_sessions = sessionmaker(reader, expire_on_commit=False)
        self._pool = ThreadPoolExecutor(_SQLITE_WORKERS, "sqlite")
        self._writer = writer
        self._joint = JointWrites(writer, self._run, self._write_sessions)

    async def write(self, work: Work[T]) -> T:
        def whole() -> T:
            with self._write_sessions.begin() as session:
                return work(session)

        async with self._writer:
            return await self._run(whole)

    async def write_jointly(self, work: Work[T]) -> T:
        return await self._joint.write(work)

    async def read(self, work: Work[T]) -> T:
        def whole() -> T:
            with self._read_sessions() as session:
                return work(session)

        return await self._run(whole)

    async def _run(self, whole: Callable[[], T]) -> T:
        working = asyncio.get_running_loop().run_in_executor(self._pool, whole)
        try:
            return await asyncio.shield(working)
        except asyncio.CancelledError:
            # Whoever writes next must not meet a transaction that is still under way.
            while not working.done():
                try:
                    await asyncio.wait({working})
                except asyncio.CancelledError:
                    continue
            # It may have failed: nobody is left who wants to know.
            working.exception()
            raise

    def close(self) -> None:
        """Wait for what is under way, a few milliseconds, and close the files."""
        self._pool.shutdown(cancel_futures=True)
        self._engine.dispose()


def create_engine(
    url: str, connections: int = SERVER_CONNECTIONS, answers_within_s: float | None = None
) -> AsyncEngine:
    """Return an async engine for `url`, tuned for its dialect. The caller disposes of it.

    connections, answers_within_s: see `Database.open`; SQLite has its own number.
    """
    parsed = make_url(url)
    # Parameters are speech and hashes: they must not stand in an exception's message.
    if parsed.get_backend_name() != "sqlite":
        kept = (connections + 1) // 2
        return create_async_engine(
            parsed,
            hide_parameters=True,
            pool_size=kept,
            max_overflow=connections - kept,
            pool_timeout=_POOL_TIMEOUT_S,
            pool_pre_ping=True,
            connect_args=_connecting(answers_within_s),
        )
    prepare_sqlite_folder(parsed)
    pool: dict[str, Any] = {} if in_memory(parsed) else dict(_SQLITE_POOL)
    engine = create_async_engine(parsed, hide_parameters=True, **pool)
    engine.sync_engine.dialect.do_terminate = _stop_sqlite  # type: ignore[method-assign]
    event.listen(engine.sync_engine, "connect", configure_sqlite)
    event.listen(engine.sync_engine, "begin", _begin_sqlite)
    return engine


def _stop_sqlite(dbapi_connection: Any) -> None:
    """Give up a connection without waiting for it.

    SQLAlchemy closes it politely at first. Cut off there it stops it too, after which the polite
    task waits for ever for a thread that has ended.
    """
    dbapi_connection.driver_connection.stop()


def _connecting(answers_within_s: float | None) -> dict[str, Any]:
    # Only for a server: the driver is no part of every installation.
    from services.common.silent_server import ANSWERS_WITHIN_S, connecting  # noqa: PLC0415

    within = ANSWERS_WITHIN_S if answers_within_s is None else answers_within_s
    return {"async_creator_fn": connecting(within)}


def in_memory(url: URL) -> bool:
    """Tell whether a SQLite URL names no file."""
    return url.database in (None, "", ":memory:")


def prepare_sqlite_folder(url: URL) -> None:
    """Create the folder of the SQLite file, private to this user, when it is missing."""
    if not in_memory(url):
        Path(str(url.database)).parent.mkdir(parents=True, exist_ok=True, mode=0o700)


def configure_sqlite(connection: Any, _record: object) -> None:
    """Set the pragmas of a new SQLite connection.

    - WAL: readers do not wait for the writer.
    - synchronous FULL: in WAL mode NORMAL may lose the last commits in a power cut, and a turn
      that was acknowledged must not be lost. It costs one fsync a commit, about one a turn.
    - foreign_keys: SQLite ignores them otherwise.
    - secure_delete: what is deleted is overwritten, not only marked free: it was somebody's speech.
    - busy_timeout: wait for another process's transaction rather than fail at once.
    """
    # The driver must not open transactions by itself: `_begin_sqlite` says which kind.
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in (
        f"busy_timeout = {_SQLITE_BUSY_TIMEOUT_MS}",
        "journal_mode = WAL",
        "synchronous = FULL",
        "foreign_keys = ON",
        "secure_delete = ON",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    # IMMEDIATE takes the write lock at once. A deferred transaction that reads and then writes
    # fails with "database is locked", without waiting, when another wrote in between.
    begin = connection.get_execution_options().get(_BEGIN_OPTION, "BEGIN IMMEDIATE")
    connection.exec_driver_sql(begin)


class _typed_failures:  # noqa: N801 - used as a context manager, like contextlib's own
    """Turns a database that cannot answer into `Unavailable`; constraint errors pass.

    A value that it cannot hold at all is the fault of whoever sent it. Requests are held against
    their rules before; this is for what no rule has thought of.
    """

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        said = _NOT_NOW.get(_state(error))
        lost = isinstance(error, DBAPIError) and error.connection_invalidated
        # Drivers put some of these among the errors that are ours.
        if said or lost or isinstance(error, OperationalError | InterfaceError | PoolTimeout):
            raise Unavailable(
                said or "The database does not answer.",
                reason="DATABASE_UNAVAILABLE",
                retry_after=1.0,
            ) from error
        if isinstance(error, DataError):
            raise InvalidArgument(
                "The request holds something that cannot be stored.", reason="INVALID_REQUEST"
            ) from error


def _state(error: BaseException | None) -> str:
    """Return what a driver calls the failure; empty where it has no name for it."""
    cause: object = error.orig if isinstance(error, DBAPIError) else None
    return getattr(cause, "sqlstate", None) or getattr(cause, "sqlite_errorname", None) or ""
