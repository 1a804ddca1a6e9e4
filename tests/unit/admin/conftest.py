"""A Parley's data without its programs: tables, keys, recordings, as its services leave them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from rich.console import Console

from admin.backup.making import make
from admin.installation import Installation
from admin.progress import Stages, showing
from tests.postgres import empty_database
from tests.unit.admin.parleys import Parley, filled


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """Return a folder with a short path: the sockets of a data folder in it have to fit in 100."""
    with TemporaryDirectory(prefix="parley-") as folder:
        yield Path(folder)


@pytest.fixture
def stages() -> Iterator[Stages]:
    with showing(Console(quiet=True), quiet=True) as stages:
        yield stages


@pytest.fixture
def installation(tmp_path: Path) -> Callable[..., Installation]:
    """Return what describes a Parley in a folder of this name, with further settings."""

    def describe(name: str = "data", settings: Mapping[str, str] | None = None) -> Installation:
        return Installation.load({"PARLEY_DATA_DIR": str(tmp_path / name), **(settings or {})})

    return describe


@pytest.fixture(scope="session")
def two_learners(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the data folder of a Parley with two learners, to be copied."""
    folder = tmp_path_factory.mktemp("parley") / "data"
    filled(Installation.load({"PARLEY_DATA_DIR": str(folder)}))
    return folder


@pytest.fixture
def some(installation: Callable[..., Installation], two_learners: Path) -> Callable[[str], Parley]:
    """Return what gives a Parley with two learners, in a folder of this name."""

    def copy(name: str) -> Parley:
        parley = Parley(installation(name))
        shutil.copytree(two_learners, parley.root, dirs_exist_ok=True)
        return parley

    return copy


@pytest.fixture
def parley(some: Callable[[str], Parley]) -> Parley:
    """Return a Parley with two learners, on SQLite and a local folder."""
    return some("data")


@pytest.fixture(scope="session")
def backup_of_two_learners(two_learners: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a backup of that Parley in a folder, to be copied."""
    place = tmp_path_factory.mktemp("backup") / "backup"
    with showing(Console(quiet=True), quiet=True) as stages:
        make(Installation.load({"PARLEY_DATA_DIR": str(two_learners)}), place, stages)
    return place


@pytest.fixture
def place(backup_of_two_learners: Path, tmp_path: Path) -> Path:
    """Return a backup of what `parley` is, in a folder."""
    return shutil.copytree(backup_of_two_learners, tmp_path / "backup")


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    """Return the settings of an empty database of each kind."""
    if request.param == "sqlite":
        yield {}
        return
    with empty_database(request.getfixturevalue("postgres_url")) as url:
        yield {"PARLEY_POSTGRESQL_URL": url}


@pytest.fixture
def postgresql(postgres_url: str) -> Iterator[dict[str, str]]:
    """Return the settings of an empty PostgreSQL database."""
    with empty_database(postgres_url) as url:
        yield {"PARLEY_POSTGRESQL_URL": url}
