"""Every page in both themes, wide and narrow: nothing that keeps anybody out, nothing cut off."""

from __future__ import annotations

import asyncio
import struct

import pytest
from playwright.async_api import Route, expect

from parley.history.v1 import history_pb2
from parley.types.v1 import feedback_pb2
from tests.e2e.web.conftest import OpenPage, Talker
from tests.e2e.web.console import Console
from tests.e2e.web.learner import WebLearner
from tests.e2e.web.looks import SIDEWAYS, WIDTHS, box_of, look_at, overlap
from tests.e2e.web.microphone import Microphone, tone
from tests.e2e.web.web_stack import REPLIES
from tests.stack import Stack

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.leaves_behind("a browser and a running Parley that the tests share"),
]


@pytest.mark.parametrize(("path", "heading"), [("/sign-in", "Welcome back"), ("/sign-up", "Begin")])
async def test_signed_out(path: str, heading: str, open_page: OpenPage, web_stack: Stack) -> None:
    page = await open_page(web_stack)
    await page.goto(path)
    await expect(page.get_by_role("heading", name=heading)).to_be_visible()
    assert await look_at(page, path.strip("/")) == []


async def test_a_refused_sign_in(open_page: OpenPage, web_stack: Stack, console: Console) -> None:
    console.allow("status of 40[0-9]")
    page = await open_page(web_stack)
    await page.goto("/sign-in")
    await page.get_by_label("Name", exact=True).fill("nobody-at-all")
    await page.get_by_label("Password", exact=True).fill("not a password")
    await page.get_by_role("button", name="Sign in").click()
    await expect(page.get_by_role("alert")).to_be_visible()
    assert await look_at(page, "sign-in-refused") == []


async def test_a_talk_from_choosing_to_looking_back(talker: Talker, microphone: Microphone) -> None:
    learner = await talker()
    page = learner.page
    wrong = []
    await expect(page.get_by_role("radio").first).to_be_visible()
    await nothing_lies_under_the_start(learner)
    wrong += await look_at(page, "talk-1-lobby")
    await page.get_by_text("Tutor, voice and how you talk").click()
    await expect(page.get_by_role("switch", name="Hold to talk")).to_be_in_viewport()
    wrong += await look_at(page, "talk-2-choices")
    await page.get_by_text("Tutor, voice and how you talk").click()
    microphone.will_say(0.5, tone(1.0))
    await learner.start_talking()
    await expect(learner.answers).to_have_text([REPLIES[0]])
    await expect(learner.floor).to_have_text("Your turn")
    wrong += await look_at(page, "talk-3-live")
    wrong += await look_at(page, "talk-3-live", SIDEWAYS)
    await everything_is_in_sight_sideways(learner)
    await page.get_by_role("button", name="Diagnostics").click()
    wrong += await look_at(page, "talk-4-diagnostics")
    await page.keyboard.press("Escape")
    await page.get_by_role("button", name="Write").click()
    await learner.write("I would like to write this one, since the train is so loud.")
    await expect(learner.answers).to_have_count(2)
    await expect(learner.floor).to_have_text("Speaking")
    wrong += await look_at(page, "talk-5-speaking")
    await learner.end_talk()
    wrong += await look_at(page, "talk-6-summary")
    assert wrong == []


async def nothing_lies_under_the_start(learner: WebLearner) -> None:
    """Scroll to the page's end at every width: what stands last there stands clear."""
    page = learner.page
    for name, (wide, high) in (WIDTHS | {"between": (768, 600)}).items():
        await page.set_viewport_size({"width": wide, "height": high})
        await page.evaluate("scrollTo({ top: document.body.scrollHeight, behavior: 'instant' })")
        choices = await box_of(page.locator(".lobby-choices"))
        for each in (page.locator(".start"), page.get_by_role("button", name="Type instead")):
            assert not overlap(choices, await box_of(each)), f"{name}: {each} lies over the choices"
    await page.set_viewport_size({"width": 1280, "height": 800})


async def everything_is_in_sight_sideways(learner: WebLearner) -> None:
    page = learner.page
    wide, high = SIDEWAYS["sideways"]
    await page.set_viewport_size({"width": wide, "height": high})
    await expect(page.locator(".dock-words")).to_be_in_viewport(ratio=1)
    await expect(page.locator(".orb")).to_be_in_viewport(ratio=1)
    transcript = await page.locator(".transcript").bounding_box()
    assert transcript is not None
    assert transcript["height"] >= high / 2
    await page.set_viewport_size({"width": 1280, "height": 800})


async def test_history_from_nothing_to_a_conversation(talker: Talker) -> None:
    learner = await talker()
    page = learner.page
    wrong = []
    await learner.go_to("History")
    await expect(page.get_by_text("Your first talk will be here.")).to_be_visible()
    wrong += await look_at(page, "history-1-empty")
    await learner.go_to("Talk")
    await learner.start_typing()
    await learner.write("I went to the market on Saturday and bought some fish.")
    await expect(learner.answers).to_have_text([REPLIES[0]])
    await expect(learner.floor).to_have_text("Your turn")
    await learner.end_talk()
    await learner.go_to("History")
    await expect(page.locator(".conversation-row")).to_have_count(1)
    wrong += await look_at(page, "history-2-list")
    await page.get_by_label("Search in what was said").fill("market")
    await expect(page.get_by_role("region", name="What was found")).to_contain_text("Saturday")
    wrong += await look_at(page, "history-3-search")
    await page.get_by_role("button", name="Clear the search").click()
    await page.locator(".conversation-link").click()
    await expect(page.get_by_role("region", name="Recording")).to_be_visible()
    wrong += await look_at(page, "history-4-conversation")
    await page.get_by_role("button", name="Download").click()
    await expect(page.get_by_role("dialog")).to_be_visible()
    wrong += await look_at(page, "history-5-download")
    assert wrong == []


async def test_progress_after_a_talk_and_of_a_month(talker: Talker) -> None:
    learner = await talker()
    page = learner.page
    await learner.start_typing()
    await learner.write("I went to the market on Saturday and bought some fish.")
    await expect(learner.answers).to_have_text([REPLIES[0]])
    await expect(learner.floor).to_have_text("Your turn")
    await learner.end_talk()
    await learner.go_to("Progress")
    # The turn is on its way to history, and the page tells what was there when it was asked.
    async with asyncio.timeout(30):
        while True:
            await expect(page.locator(".progress[aria-busy=false]")).to_be_visible()
            if await page.get_by_role("img", name="Words: 11 on 1 day").count():
                break
            await page.reload()
    # Nobody practises for a month in a test.
    await page.route("**/parley.history.v1.HistoryService/GetProgress", tell_of_a_month)
    await page.reload()
    await expect(page.locator(".chart-plot")).to_have_count(5)
    assert await look_at(page, "progress") == []


async def tell_of_a_month(route: Route) -> None:
    """Answer as the history service does about somebody who practises on most days."""
    kinds = (feedback_pb2.CORRECTION_KIND_GRAMMAR, feedback_pb2.CORRECTION_KIND_VOCABULARY)
    told = history_pb2.GetProgressResponse(
        days=[
            history_pb2.DailyProgress(
                date=f"2026-10-{day:02}",
                speech_ms=60_000 * (3 + day * 5 % 9),
                words=(3 + day * 5 % 9) * (84 + day),
                turns=12 + day % 7,
                rate_wpm=84 + day,
                median_silence_ms=620 + 37 * (day % 5),
                corrections=[
                    history_pb2.CorrectionCount(kind=kind, count=1 + day % (2 + place))
                    for place, kind in enumerate(kinds)
                ],
            )
            for day in range(1, 32)
            if day % 6
        ],
        current_streak_days=1,
        longest_streak_days=12,
        total_speech_ms=31_000_000,
        total_conversations=61,
        time_zone="Europe/Madrid",
        from_date="2026-10-01",
        to_date="2026-10-31",
    ).SerializeToString()
    trailers = b"grpc-status:0\r\n"
    body = struct.pack(">BI", 0, len(told)) + told + struct.pack(">BI", 128, len(trailers))
    await route.fulfill(content_type="application/grpc-web+proto", body=body + trailers)


async def test_settings(learner: WebLearner) -> None:
    page = learner.page
    await learner.is_signed_in()
    wrong = []
    for section in ("", "talking", "voice", "look", "safety", "data"):
        await page.goto(f"/settings/{section}".rstrip("/"))
        await expect(page.get_by_role("heading", name="Settings")).to_be_visible()
        await expect(page.locator(".skeleton")).to_have_count(0)
        wrong += await look_at(page, f"settings-{section or 'you'}")
    assert wrong == []
