"""Parley over TLS with the authority that it made itself, in a browser whose owner trusts that."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Error, expect

from tests.e2e.web.chromium import chromium
from tests.e2e.web.console import Console
from tests.e2e.web.learner import WebLearner
from tests.e2e.web.microphone import Microphone, tone
from tests.e2e.web.test_talk import WAYS
from tests.e2e.web.trust import home_that_trusts
from tests.e2e.web.web_stack import REPLIES
from tests.stack import Stack
from tools.browser import find_browser

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.leaves_behind("a browser and a running Parley that the tests share"),
]


@pytest_asyncio.fixture(loop_scope="session")
async def trusting(
    microphone: Microphone, web_stack: Stack, tmp_path: Path
) -> AsyncIterator[Browser]:
    """Yield a browser that believes what its owner trusts, and asks for nothing else."""
    assert web_stack.authority is not None
    home = home_that_trusts(web_stack.authority, tmp_path, find_browser().environment)
    async with chromium(microphone.path, favours=False, home=home) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="session")
async def strict(microphone: Microphone, tmp_path: Path) -> AsyncIterator[Browser]:
    """Yield a browser of somebody who has never heard of our authority."""
    async with chromium(microphone.path, favours=False, home=tmp_path) as running:
        yield running


async def test_who_trusts_the_authority_talks_over_the_best_way_without_a_warning(
    trusting: Browser, web_stack: Stack, microphone: Microphone, console: Console
) -> None:
    context = await trusting.new_context(base_url=web_stack.url)
    await console.watch(context)
    learner = WebLearner(await context.new_page())
    await learner.sign_up()
    await learner.is_signed_in()
    # A service worker is allowed nowhere but where the browser is sure of the server.
    await learner.page.evaluate("navigator.serviceWorker.ready")
    # From the second visit on the page itself comes from the worker, over no protocol at all.
    await learner.reload_signed_in()
    assert await learner.page.evaluate("navigator.serviceWorker.controller !== null")
    microphone.will_say(6.0, tone(1.0))
    await learner.page.get_by_role("button", name="Start talking").click()
    await expect(learner.answers).to_have_count(2)
    await expect(learner.answers.nth(1)).to_have_text(REPLIES[1])
    assert WAYS["upload"] in await learner.way()
    await learner.end_talk()
    await context.close()


async def test_who_does_not_trust_it_is_warned(strict: Browser, web_stack: Stack) -> None:
    page = await strict.new_page()
    with pytest.raises(Error, match="ERR_CERT_AUTHORITY_INVALID"):
        await page.goto(web_stack.url)
    await page.close()
