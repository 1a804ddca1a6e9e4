"""Parley on real servers, each of which can go away: PostgreSQL, Redis, S3.

PostgreSQL is as durable as where people run it, and the S3 server keeps its objects as files. Each
can be killed; the line to the S3 server breaks besides.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch
from uuid import uuid4

from launcher.supervision import State, statuses_now
from tests import s3
from tests.fault.line import LineBeside, line_beside
from tests.postgres import PostgresServer, set_read_only
from tests.redis import RedisServer, empty
from tests.stack import Stack

PROGRAMS = ("user", "conversation", "ai", "history", "media", "gateway")
SERVERS = ("postgresql", "redis", "s3")
FLUSH = "flush"


@dataclass(frozen=True, slots=True)
class World:
    """What runs, and what can be done to it. Every method blocks.

    database: the URL of the services' database, as SQLAlchemy takes it.
    """

    stack: Stack
    postgres: PostgresServer
    database: str
    redis: RedisServer
    storage: s3.S3Server
    store: LineBeside

    def break_one(self, what: str) -> str:
        """Kill a program or a server and have it back, or empty Redis; return what was done."""
        if what == FLUSH:
            empty(self.redis.url)
            return "FLUSHALL"
        if what == "postgresql":
            self.postgres.kill(signal.SIGKILL)
            self.postgres.up()
        elif what == "redis":
            self.redis.kill(signal.SIGKILL)
            self.redis.up()
        elif what == "s3":
            self.storage.down()
            self.storage.up()
        else:
            self._wait_until_steady(what)
            self.stack.kill(what)
            self.stack.wait_until_healthy(what)
        return f"kill {what}"

    def heal(self) -> None:
        """Have everything back and well."""
        if not self.postgres.running:
            self.postgres.up()
        set_read_only(self.database, "off")
        if not self.redis.pid:
            self.redis.up()
        if not self.storage.running:
            self.storage.up()
        self.store.mend()
        for program in PROGRAMS:
            self.stack.wait_until_healthy(program)

    def _wait_until_steady(self, program: str) -> None:
        """Wait while a program has only just started: supervisord would hold it back for long."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            status = statuses_now(self.stack.folder).get(program)
            if status is not None and status.state is State.RUNNING:
                return
            time.sleep(0.1)


@contextmanager
def world(folder: Path, settings: Mapping[str, str] | None = None) -> Iterator[World]:
    """Run one in `folder`, whose path must be short, with these `PARLEY_*` settings besides."""
    bucket = f"parley-{uuid4().hex}"
    with (
        patch.dict("os.environ", s3.CREDENTIALS),
        PostgresServer.start(durable=True) as postgres,
        postgres.database() as database,
        RedisServer.start() as redis,
        s3.S3Server.start() as storage,
        line_beside(storage.port) as (cable, port),
    ):
        s3.client(storage.url).create_bucket(Bucket=bucket)
        settings = {
            **s3.CREDENTIALS,
            "PARLEY_POSTGRESQL_URL": database,
            "PARLEY_REDIS_URL": redis.url,
            "PARLEY_MEDIA_STORE_URL": f"s3://{bucket}/parley",
            "PARLEY_MEDIA_STORE_ENDPOINT": f"http://127.0.0.1:{port}",
            # What is left of a broken recording is completed while somebody still looks.
            "PARLEY_MEDIA_RESUME_SECONDS": "15",
            "PARLEY_MEDIA_SWEEP_SECONDS": "1",
            "PARLEY_USER_BCRYPT_COST": "4",
            # Whoever builds the page meanwhile takes files away that a gateway which starts again
            # would read.
            "PARLEY_GATEWAY_WEB_DIR": str(folder / "no-page"),
            **(settings or {}),
        }
        with Stack(folder / "d", settings=settings) as stack:
            one = World(stack, postgres, database, redis, storage, cable)
            yield one
            if not postgres.running:
                # The block's end drops the database.
                postgres.up()
