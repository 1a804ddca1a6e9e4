"""Clients of a real Redis, and one that is nowhere."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from services.common.redis.connection import Redis, connected
from tests.ports import free_ports


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    async with connected(redis_url) as client:
        yield client


@pytest.fixture
async def absent() -> AsyncIterator[Redis]:
    """Return a client of a server that is not there."""
    async with connected(f"redis://127.0.0.1:{free_ports(1)[0]}/0") as client:
        yield client
