"""One world for all tests that break it: each leaves it whole."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.fault.world import World, world


@pytest.fixture(scope="session")
def shared_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("w")) as one:
        yield one


@pytest.fixture
def whole(shared_world: World) -> Iterator[World]:
    """Return the world with everything in it well, before the test and after."""
    shared_world.heal()
    yield shared_world
    shared_world.heal()
