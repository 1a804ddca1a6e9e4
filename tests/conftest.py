"""What every test stands on: leak checks, a clean environment and a data folder of its own."""

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests import postgres, redis, s3
from tests.together import Grouped, place_of

KEPT_VARIABLES = frozenset(
    {
        "PARLEY_CHROMIUM",
        "PARLEY_ENVOY",
        "PARLEY_MODELS_DIR",
        "PARLEY_PYTHON",
        postgres.VARIABLE,
        redis.VARIABLE,
        s3.VARIABLE,
    }
)
"""Where things are on this machine; everything else about Parley a test sets itself."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the services of contract tests keep their data on PostgreSQL."""
    parser.addoption(
        "--postgresql", action="store_true", help="run contract tests on PostgreSQL, not SQLite"
    )


MODELS_TIMEOUT_S = 240
"""Of a test with real models, which has the cores to itself only where the tests run alone."""


def pytest_xdist_auto_num_workers() -> int:
    """Return how many tests run at a time: more than there are cores, for many wait for audio."""
    cores = os.cpu_count() or 1
    return cores + (cores + 1) // 2


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Grouped:
    """Give whole groups to workers, whatever way to distribute tests was asked for."""
    return Grouped(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the groups that take longest, and give real models time."""
    for item in items:
        if item.get_closest_marker("models") and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(MODELS_TIMEOUT_S))
    items.sort(key=lambda item: place_of(item.nodeid))


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the settings of whoever runs the tests out of them."""
    for name in os.environ:
        if name.startswith("PARLEY_") and name not in KEPT_VARIABLES:
            monkeypatch.delenv(name)


@pytest.fixture
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty data folder, which `PARLEY_DATA_DIR` names during the test."""
    folder = tmp_path / "data"
    folder.mkdir()
    monkeypatch.setenv("PARLEY_DATA_DIR", str(folder))
    return folder


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """Return where a PostgreSQL server is, as libpq names it; a running one if that is named."""
    with ExitStack() as stack:
        named = os.environ.get(postgres.VARIABLE)
        yield named or stack.enter_context(postgres.PostgresServer.start()).url


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Return the URL of an empty database, on each kind of server that Parley keeps its data on."""
    if request.param == "sqlite":
        yield f"sqlite+aiosqlite:///{tmp_path}/parley.sqlite3"
    else:
        with postgres.empty_database(request.getfixturevalue("postgres_url")) as url:
            yield url


@pytest.fixture
def database_settings(request: pytest.FixtureRequest) -> Iterator[dict[str, Any]]:
    """Return the settings by which a service keeps its data where this run says."""
    if not request.config.getoption("--postgresql"):
        yield {}
        return
    with postgres.empty_database(request.getfixturevalue("postgres_url")) as url:
        yield {"postgresql_url": url}


@pytest.fixture(scope="session")
def redis_server_url() -> Iterator[str]:
    """Return where a Redis server is; a running one if that is named."""
    with ExitStack() as stack:
        named = os.environ.get(redis.VARIABLE)
        yield named or stack.enter_context(redis.RedisServer.start()).url


@pytest.fixture
def redis_url(redis_server_url: str) -> str:
    """Return where an empty Redis is."""
    redis.empty(redis_server_url)
    return redis_server_url


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """Return where a server is that speaks S3; a running one if that is named."""
    with ExitStack() as stack:
        yield os.environ.get(s3.VARIABLE) or stack.enter_context(s3.S3Server.start()).url


@pytest.fixture(scope="session")
def encrypting_s3_endpoint() -> Iterator[str]:
    """Return where a server is that speaks S3 and tells how it encrypts what it keeps."""
    with s3.MotoServer.start() as server:
        yield server.url


@pytest.fixture
def s3_bucket(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Make an empty bucket that the credentials of this process open; return its name."""
    if s3.VARIABLE not in os.environ:
        for variable, value in s3.CREDENTIALS.items():
            monkeypatch.setenv(variable, value)
    name = f"parley-{uuid4().hex}"
    s3.client(s3_endpoint).create_bucket(Bucket=name)
    return name
