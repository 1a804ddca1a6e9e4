"""A microphone that is refused, absent, taken or lost: each has a plain message and a way on.

What a browser can be brought to do itself, it does: it refuses, finds none, or ends the one it
has. That another program holds it is feigned, for no other can be started here that would.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser, Page, expect

from tests.e2e.web.chromium import REFUSES, chromium
from tests.e2e.web.conftest import Talker, new_profile
from tests.e2e.web.console import Console
from tests.e2e.web.learner import WebLearner
from tests.e2e.web.looks import look_at
from tests.e2e.web.microphone import Microphone, tone
from tests.e2e.web.web_stack import HEARD, REPLIES
from tests.stack import Stack

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.leaves_behind("a browser and a running Parley that the tests share"),
]

HELD_BY_ANOTHER = """
const found = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
window.heldByAnother = true;
navigator.mediaDevices.getUserMedia = async (wishes) => {
  if (window.heldByAnother) throw new DOMException("by the test", "NotReadableError");
  return found(wishes);
};
"""


@contextlib.asynccontextmanager
async def somebody_at(
    browser: Browser, stack: Stack, console: Console
) -> AsyncIterator[WebLearner]:
    """Yield somebody who has just made an account, at a browser of their own."""
    context = await new_profile(browser, stack)
    await console.watch(context)
    learner = WebLearner(await context.new_page())
    await learner.sign_up()
    await learner.is_signed_in()
    yield learner
    await context.close()


async def is_told_and_has_two_ways_on(learner: WebLearner, words: str) -> None:
    # Also from far below: the words come into sight.
    await learner.page.get_by_text("Tutor, voice and how you talk").scroll_into_view_if_needed()
    await learner.page.get_by_role("button", name="Start talking").click()
    alert = learner.page.get_by_role("alert")
    await expect(alert).to_contain_text(words)
    await expect(alert).to_be_in_viewport()
    await expect(alert.get_by_role("button")).to_have_text(["Try again", "Type instead"])


async def goes_on_by_writing(learner: WebLearner) -> None:
    await learner.page.get_by_role("alert").get_by_role("button", name="Type instead").click()
    await expect(learner.floor).to_have_text("Your turn")
    await learner.write("Then I write.")
    await expect(learner.answers).to_have_text([REPLIES[0]])


async def test_a_browser_that_refuses_the_microphone_is_told_and_one_writes(
    web_stack: Stack, microphone: Microphone, console: Console
) -> None:
    async with (
        chromium(microphone.path, REFUSES) as refusing,
        somebody_at(refusing, web_stack, console) as learner,
    ):
        await is_told_and_has_two_ways_on(learner, "may not use your microphone")
        assert await look_at(learner.page, "trouble-microphone-refused") == []
        # It refuses again, and says so again.
        alert = learner.page.get_by_role("alert")
        await alert.get_by_role("button", name="Try again").click()
        await expect(alert).to_contain_text("may not use your microphone")
        await goes_on_by_writing(learner)


async def test_a_machine_without_a_microphone_is_told_and_one_writes(
    web_stack: Stack, console: Console
) -> None:
    async with (
        chromium(None) as deaf,
        somebody_at(deaf, web_stack, console) as learner,
    ):
        await is_told_and_has_two_ways_on(learner, "No microphone was found")
        assert await look_at(learner.page, "trouble-microphone-missing") == []
        await goes_on_by_writing(learner)


async def test_a_microphone_that_another_program_holds_is_tried_again(
    talker: Talker, microphone: Microphone
) -> None:
    learner = await talker()
    await learner.page.add_init_script(HELD_BY_ANOTHER)
    await learner.reload_signed_in()
    await is_told_and_has_two_ways_on(learner, "Another program is using")
    # Once it is there, the same button does.
    await learner.page.evaluate("window.heldByAnother = false")
    microphone.will_say(0.5, tone(1.0))
    await learner.page.get_by_role("alert").get_by_role("button", name="Try again").click()
    await expect(learner.answers).to_have_text([REPLIES[0]])


async def test_a_microphone_lost_in_the_middle_is_told_and_comes_back(
    talker: Talker, microphone: Microphone
) -> None:
    learner = await talker()
    microphone.will_say()
    await learner.start_talking()
    microphone.will_say(0.5, tone(1.0))
    await take_away(learner.page)
    alert = learner.page.get_by_role("alert")
    await expect(alert).to_contain_text("unplugged")
    assert await look_at(learner.page, "trouble-microphone-unplugged") == []
    await expect(learner.page.get_by_label("Write instead of speaking")).to_be_visible()
    await alert.get_by_role("button", name="Try again").click()
    await expect(alert).to_have_count(0)
    await expect(learner.said).to_have_text([HEARD[0]])
    await expect(learner.answers).to_have_text([REPLIES[0]])


async def take_away(page: Page) -> None:
    """Have the browser itself end the microphone's track, as for one that is unplugged.

    It does so when the permission is withdrawn; a feigned device has no plug.
    """
    assert page.context.browser is not None
    own = await page.context.new_cdp_session(page)
    profile = (await own.send("Target.getTargetInfo"))["targetInfo"]["browserContextId"]
    everywhere = await page.context.browser.new_browser_cdp_session()
    await everywhere.send(
        "Browser.setPermission",
        {
            "permission": {"name": "microphone"},
            "setting": "denied",
            "origin": await page.evaluate("location.origin"),
            "browserContextId": profile,
        },
    )
    await everywhere.detach()
    await own.detach()
