"""When something is in the way: each has a plain message and a way on."""

from __future__ import annotations

import asyncio

import pytest
from playwright.async_api import Route, expect

from tests.e2e.web.conftest import OpenPage, Talker
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

NO_MICROPHONE = """
const found = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
window.microphoneIs = %s;
navigator.mediaDevices.getUserMedia = async (wishes) => {
  if (window.microphoneIs) throw new DOMException("by the test", window.microphoneIs);
  return (window.lastStream = await found(wishes));
};
"""


@pytest.mark.parametrize(
    ("trouble", "words"),
    [
        ("NotAllowedError", "may not use your microphone"),
        ("NotFoundError", "No microphone was found"),
        ("NotReadableError", "Another program is using"),
    ],
)
async def test_without_a_microphone_there_are_words_and_two_ways_on(
    trouble: str, words: str, talker: Talker
) -> None:
    learner = await talker()
    await learner.page.add_init_script(NO_MICROPHONE % f'"{trouble}"')
    await learner.reload_signed_in()
    # Also from far below: the words come into sight.
    await learner.page.get_by_text("Tutor, voice and how you talk").scroll_into_view_if_needed()
    await learner.page.get_by_role("button", name="Start talking").click()
    alert = learner.page.get_by_role("alert")
    await expect(alert).to_contain_text(words)
    await expect(alert).to_be_in_viewport()
    await expect(alert.get_by_role("button")).to_have_text(["Try again", "Type instead"])


async def test_after_trouble_with_the_microphone_one_tries_again_or_writes(
    talker: Talker, microphone: Microphone
) -> None:
    trouble = "NotAllowedError"
    learner = await talker()
    await learner.page.add_init_script(NO_MICROPHONE % f'"{trouble}"')
    await learner.reload_signed_in()
    await learner.page.get_by_role("button", name="Start talking").click()
    alert = learner.page.get_by_role("alert")
    await expect(alert).to_be_visible()
    assert await look_at(learner.page, "trouble-microphone-refused") == []
    # Once it is there, the same button does.
    await learner.page.evaluate("window.microphoneIs = null")
    microphone.will_say(0.5, tone(1.0))
    await alert.get_by_role("button", name="Try again").click()
    await expect(learner.answers).to_have_text([REPLIES[0]])
    await learner.end_talk()
    # And without one, one can write.
    await learner.page.get_by_role("button", name="Another talk").click()
    await learner.page.evaluate(f'window.microphoneIs = "{trouble}"')
    await learner.page.get_by_role("button", name="Start talking").click()
    await alert.get_by_role("button", name="Type instead").click()
    await expect(learner.floor).to_have_text("Your turn")
    await learner.write("Then I write.")
    await expect(learner.answers).to_have_text([REPLIES[0]])


async def test_a_microphone_unplugged_in_the_middle_is_told_and_comes_back(
    talker: Talker, microphone: Microphone
) -> None:
    learner = await talker()
    await learner.page.add_init_script(NO_MICROPHONE % "null")
    await learner.reload_signed_in()
    microphone.will_say()
    await learner.start_talking()
    microphone.will_say(0.5, tone(1.0))
    await learner.page.evaluate("""() => {
      const [track] = window.lastStream.getAudioTracks();
      track.stop();
      track.dispatchEvent(new Event("ended"));
    }""")
    alert = learner.page.get_by_role("alert")
    await expect(alert).to_contain_text("unplugged")
    assert await look_at(learner.page, "trouble-microphone-unplugged") == []
    await expect(learner.page.get_by_label("Write instead of speaking")).to_be_visible()
    await alert.get_by_role("button", name="Try again").click()
    await expect(alert).to_have_count(0)
    await expect(learner.said).to_have_text([HEARD[0]])
    await expect(learner.answers).to_have_text([REPLIES[0]])


async def test_a_talk_over_every_way_survives_the_death_of_its_server(
    talker: Talker, web_stack: Stack, console: Console
) -> None:
    console.allow("Failed to load resource|WebSocket connection|ERR_")
    learners = [await talker(transport=way) for way in ("upload", "push", "websocket")]
    await asyncio.gather(*(begin(learner) for learner in learners))
    # The banner may be gone again in a second: everybody looks out for it before it happens.
    banners = asyncio.gather(*(see_it_lost(learner) for learner in learners))
    await asyncio.sleep(0.2)
    await asyncio.to_thread(web_stack.kill, "conversation")
    await banners
    await asyncio.to_thread(web_stack.wait_until_healthy, "conversation")
    await asyncio.gather(*(go_on(learner) for learner in learners))


async def begin(learner: WebLearner) -> None:
    await learner.start_typing()
    await learner.write("Before it broke.")
    await expect(learner.answers).to_have_text([REPLIES[0]])
    await expect(learner.floor).to_have_text("Your turn")


async def see_it_lost(learner: WebLearner) -> None:
    await expect(learner.page.get_by_role("alert")).to_contain_text("connection was lost")


async def go_on(learner: WebLearner) -> None:
    await expect(learner.page.get_by_role("alert")).to_have_count(0)
    await learner.write("After it broke.")
    await expect(learner.said).to_have_text(["Before it broke.", "After it broke."])
    await expect(learner.answers).to_have_count(2)
    await expect(learner.floor).to_have_text("Your turn")
    await learner.end_talk()
    await expect(learner.page.locator(".summary-figures")).to_contain_text("Turns2")


async def test_a_server_that_does_not_answer_is_told_and_tried_again(
    talker: Talker, console: Console
) -> None:
    console.allow("Failed to load resource")
    learner = await talker(transport="push")

    async def refuse(route: Route) -> None:
        await route.abort("connectionrefused")

    await learner.page.route("**/Subscribe", refuse)
    await learner.page.get_by_role("button", name="Type instead").first.click()
    alert = learner.page.get_by_role("alert")
    await expect(alert).to_be_visible()
    assert await look_at(learner.page, "trouble-server-away") == []
    await learner.page.unroute("**/Subscribe")
    await alert.get_by_role("button", name="Try again").click()
    await expect(learner.floor).to_have_text("Your turn")


async def test_a_token_that_expires_in_the_middle_of_a_talk_is_renewed_unnoticed(
    talker: Talker, console: Console
) -> None:
    console.allow("status of 401")
    learner = await talker(transport="push")
    await learner.start_typing()
    renewed = []
    learner.page.on(
        "request", lambda sent: renewed.append(sent) if sent.url.endswith("/Refresh") else None
    )

    async def expire(route: Route) -> None:
        await route.fulfill(
            status=401,
            headers={"grpc-status": "16", "content-type": "application/grpc-web+proto"},
        )

    await learner.page.route("**/Push", expire, times=1)
    await learner.write("My token is old.")
    await expect(learner.said).to_have_text(["My token is old."])
    await expect(learner.answers).to_have_text([REPLIES[0]])
    assert len(renewed) == 1
    await expect(learner.page.get_by_role("alert")).to_have_count(0)


async def test_signed_out_everywhere_ends_a_talk_elsewhere(
    open_page: OpenPage, talker: Talker, web_stack: Stack, console: Console
) -> None:
    console.allow("status of 40[0-9]")
    learner = await talker(transport="push")
    await learner.start_typing()
    other = WebLearner(await open_page(web_stack), of=learner)
    await other.sign_in()
    await other.is_signed_in()
    await other.sign_out_everywhere()
    over = learner.page.get_by_role("button", name="Another talk").or_(
        learner.page.get_by_role("heading", name="Welcome back")
    )
    await expect(over.first).to_be_visible()
