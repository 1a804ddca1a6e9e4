"""A page that is reloaded in the middle of a talk: the talk waits, and goes on where it was."""

from __future__ import annotations

import asyncio

import pytest
from playwright.async_api import expect

from tests.e2e.web.conftest import Talker
from tests.e2e.web.learner import WebLearner
from tests.e2e.web.looks import look_at
from tests.e2e.web.microphone import Microphone, tone
from tests.e2e.web.taps import tapped
from tests.e2e.web.web_stack import HEARD, REPLIES, sounding_s

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.leaves_behind("a browser and a running Parley that the tests share"),
]

WAYS = ("upload", "push", "websocket")

OPEN = "Your talk is still open."


async def test_a_talk_goes_on_after_a_reload_over_every_way(
    talker: Talker, microphone: Microphone
) -> None:
    learners = [await talker(transport=way) for way in WAYS]
    microphone.will_say(0.5, tone(1.0))
    await asyncio.gather(
        *(
            reload_and_go_on(learner, microphone, pictured=learner is learners[0])
            for learner in learners
        )
    )


async def reload_and_go_on(learner: WebLearner, microphone: Microphone, *, pictured: bool) -> None:
    await learner.start_talking()
    await expect(learner.answers).to_have_text([REPLIES[0]])
    await expect(learner.floor).to_have_text("Your turn")
    # In the middle of the second answer, and once more before the talk is gone on with.
    await learner.page.get_by_role("button", name="Write").click()
    await learner.write("I write this one.")
    await expect(learner.floor).to_have_text("Speaking")
    await learner.reload_signed_in()
    await learner.reload_signed_in()
    await expect(learner.page.get_by_text(OPEN)).to_be_visible()
    if pictured:
        assert await look_at(learner.page, "talk-7-open-again") == []
    microphone.will_say()
    await learner.go_on_talking()
    # Nothing of it is lost, and the answer that was not heard to its end is said again, alone.
    await expect(learner.said).to_have_text([HEARD[0], "I write this one."])
    await expect(learner.answers).to_have_text(list(REPLIES[:2]))
    await expect(learner.floor).to_have_text("Your turn")
    (heard,) = await tapped(learner.page, "loudspeaker")
    assert heard.sounding_s == pytest.approx(sounding_s(REPLIES[1]), rel=0.1)
    await learner.page.get_by_role("button", name="Write").click()
    await learner.write("And this one as well.")
    await expect(learner.answers).to_have_text(list(REPLIES))
    await learner.end_talk()
    await expect(learner.page.locator(".summary-figures")).to_contain_text("Turns3")


async def test_a_talk_that_is_not_gone_on_with_keeps_no_place(
    talker: Talker, microphone: Microphone
) -> None:
    microphone.will_say()
    learners = [await talker(transport=way) for way in WAYS]
    await asyncio.gather(*(leave_again_and_again(learner) for learner in learners))


async def leave_again_and_again(learner: WebLearner) -> None:
    # More often than there are places for one learner.
    for _ in range(4):
        await learner.start_talking()
        await learner.reload_signed_in()
        await expect(learner.page.get_by_text(OPEN)).to_be_visible()
    await learner.page.get_by_role("button", name="End it").click()
    await expect(learner.page.get_by_text(OPEN)).to_have_count(0)
    await learner.start_talking()
    await learner.end_talk()
