"""What the tests of the models share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.models.hub_server import HubServer
from tests.unit.models.wheels import Registry


@pytest.fixture
def hub() -> Iterator[HubServer]:
    with HubServer() as server:
        yield server


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    folder = tmp_path / "registry"
    folder.mkdir()
    return Registry(folder)


@pytest.fixture
def models_dir(tmp_path: Path) -> Path:
    return tmp_path / "models"
