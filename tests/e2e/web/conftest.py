"""One browser for all browser tests, and a page that fails its test for what the console says."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser

from tests.e2e.web.chromium import chromium
from tests.e2e.web.microphone import Microphone


@pytest.fixture(scope="session")
def microphone(tmp_path_factory: pytest.TempPathFactory) -> Microphone:
    """Return the microphone of the browser that the tests share."""
    return Microphone(tmp_path_factory.mktemp("microphone") / "said.wav")


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser(microphone: Microphone) -> AsyncIterator[Browser]:
    """Yield the browser that the tests share."""
    async with chromium(microphone.path) as running:
        yield running
