"""The limits of the services at N and at N + 1, made small, by every client that comes to them.

How each is tried stands in `tests/e2e/small_limits`; `tests/tried_limits.py` says by which clients.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tests.e2e.small_limits import doors, elsewhere, leaving, messages, places, times, unread
from tests.e2e.small_limits.table import ROWS, SMALL, Row
from tests.e2e.town import Parley, Town, town

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.e2e,
    pytest.mark.timeout(120),
    pytest.mark.leaves_behind("a running Parley that the tests share"),
]

TABLES = (times, messages, unread, leaving, places, doors, elsewhere)
"""Whatever they try is in `ROWS` once they are here."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def here(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Town]:
    async with town(tmp_path_factory.mktemp("town")) as services:
        yield services


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=list(SMALL))
async def parley(here: Town, request: Any) -> AsyncIterator[Parley]:
    async with here.parley(SMALL[request.param]) as small:
        yield small


@pytest.mark.parametrize(
    ("parley", "client", "row"),
    [
        pytest.param(row.small, client, row, id=f"{' '.join(row.limits)}-{client}")
        for row in ROWS
        for client in row.clients
    ],
    indirect=["parley"],
)
async def test_a_client_comes_to_a_limit_and_not_past_it(parley: Parley, client: str, row: Row):
    await row.tried(parley, client)


TRIED = {limit: row.clients for row in ROWS for limit in row.limits}
"""By limit: the clients that come to it here."""
