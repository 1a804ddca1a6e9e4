"""Behind a proxy that holds a streamed upload back: the page notices, and sends batches instead."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, expect

from tests.e2e.web.conftest import new_profile
from tests.e2e.web.console import Console
from tests.e2e.web.holding_proxy import holding_proxy
from tests.e2e.web.learner import WebLearner
from tests.e2e.web.microphone import Microphone, tone
from tests.e2e.web.test_talk import WAYS
from tests.e2e.web.web_stack import HEARD, REPLIES
from tests.stack import Stack

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.leaves_behind("a browser and a running Parley that the tests share"),
]


@pytest.fixture
def address(web_stack: Stack, tmp_path: Path) -> Iterator[str]:
    with holding_proxy(web_stack, tmp_path) as proxy:
        yield proxy


async def test_what_was_said_into_an_upload_that_is_held_back_is_heard_in_batches(
    browser: Browser, web_stack: Stack, address: str, microphone: Microphone, console: Console
) -> None:
    context = await new_profile(browser, web_stack, base_url=address)
    await console.watch(context)
    learner = WebLearner(await context.new_page())
    await learner.sign_up()
    await learner.is_signed_in()
    microphone.will_say(0.5, tone(1.0))
    await learner.start_talking()
    assert WAYS["upload"] in await learner.way()
    # Nothing of it arrives; then all of it does, and nobody has to say it again.
    await expect(learner.said).to_have_text([HEARD[0]], timeout=40_000)
    await expect(learner.answers).to_have_text([REPLIES[0]])
    assert WAYS["push"] in await learner.way()
    await expect(learner.page.get_by_role("alert")).to_have_count(0)
    await learner.end_talk()
    await context.close()
