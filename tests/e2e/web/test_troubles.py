"""When something is in the way: each has a plain message and a way on."""

from __future__ import annotations

import asyncio

import pytest
from playwright.async_api import expect

from tests.e2e.web.conftest import OpenPage, Talker
from tests.e2e.web.console import Console
from tests.e2e.web.learner import WebLearner
from tests.e2e.web.looks import look_at
from tests.e2e.web.web_stack import REPLIES
from tests.stack import Stack

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.leaves_behind("a browser and a running Parley that the tests share"),
]


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


async def test_a_server_that_is_switched_off_is_told_everywhere_and_found_again(
    talker: Talker, frail_stack: Stack, console: Console
) -> None:
    console.allow("Failed to load resource|WebSocket connection|ERR_")
    talking, choosing = await talker(frail_stack), await talker(frail_stack)
    await begin(talking)
    # What a page consists of comes from the server too, when it is opened first.
    await choosing.go_to("History")
    await expect(choosing.page.get_by_text("Your first talk will be here.")).to_be_visible()
    await choosing.go_to("Talk")
    wrong = []
    await asyncio.to_thread(switch_off, frail_stack)
    try:
        await see_it_lost(talking)
        wrong += await look_at(talking.page, "trouble-connection-lost")
        await choosing.page.get_by_role("button", name="Type instead").first.click()
        alert = choosing.page.get_by_role("alert")
        await expect(alert).to_be_visible()
        wrong += await look_at(choosing.page, "trouble-server-away")
        await choosing.go_to("History")
        await expect(alert).to_be_visible()
        wrong += await look_at(choosing.page, "trouble-history-away")
    finally:
        await asyncio.to_thread(frail_stack.start)
    await alert.get_by_role("button", name="Try again").click()
    await expect(choosing.page.get_by_text("Your first talk will be here.")).to_be_visible()
    await choosing.go_to("Talk")
    await choosing.start_typing()
    assert wrong == []


def switch_off(stack: Stack) -> None:
    """End every process of it without a word, as a power cut does."""
    stack.kill_launcher()
    stack.stop()


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
