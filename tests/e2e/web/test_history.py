"""What was talked about is found again, read, heard, taken along and deleted, in the browser."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, expect

from tests.e2e.conftest import SPEECH
from tests.e2e.web.conftest import OpenPage, Talker, new_profile
from tests.e2e.web.console import Console
from tests.e2e.web.learner import WebLearner
from tests.e2e.web.looks import look_at
from tests.e2e.web.microphone import Microphone, recordings
from tests.e2e.web.web_stack import HEARD, REPLIES
from tests.stack import Stack

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.leaves_behind("a browser and a running Parley that the tests share"),
]


SLOWLY = """() => {
  const play = HTMLMediaElement.prototype.play;
  HTMLMediaElement.prototype.play = function () {
    this.playbackRate = 0.5;
    return play.call(this);
  };
}"""
"""Time enough to look at a recording while it is played."""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def account(browser: Browser, web_stack: Stack, microphone: Microphone) -> WebLearner:
    """Return somebody who has spoken one sentence and was answered; their browser is closed."""
    context = await new_profile(browser, web_stack)
    learner = WebLearner(await context.new_page())
    await learner.sign_up()
    await learner.is_signed_in()
    microphone.will_say(0.5, *recordings(SPEECH, ["022820134.wav"]))
    await learner.start_talking()
    await finish(learner)
    await context.close()
    return learner


@pytest_asyncio.fixture(loop_scope="session")
async def has_spoken(account: WebLearner, open_page: OpenPage, web_stack: Stack) -> WebLearner:
    """Return `account`'s owner, signed in at a browser of this test's, with History open."""
    learner = WebLearner(await open_page(web_stack), of=account)
    await learner.sign_in()
    await learner.is_signed_in()
    await learner.go_to("History")
    return learner


async def has_written(talker: Talker) -> WebLearner:
    """Return somebody who has written one sentence and was answered, with History open."""
    learner = await talker()
    await learner.start_typing()
    await learner.write(HEARD[0])
    await finish(learner)
    return learner


async def finish(learner: WebLearner) -> None:
    await expect(learner.answers).to_have_text([REPLIES[0]])
    await expect(learner.floor).to_have_text("Your turn")
    await learner.end_talk()
    await learner.go_to("History")
    await expect(learner.page.locator(".conversation-row")).to_have_count(1)


async def test_a_conversation_is_read_and_played_with_its_words_following(
    has_spoken: WebLearner,
) -> None:
    page = has_spoken.page
    await page.locator(".conversation-link").click()
    said = page.get_by_role("list", name="What was said")
    await expect(said).to_contain_text(HEARD[0])
    await expect(said).to_contain_text(REPLIES[0])
    player = page.get_by_role("region", name="Recording")
    position = player.get_by_role("slider", name="Position in the recording")
    await page.evaluate(SLOWLY)
    await player.get_by_role("button", name="Play the recording").click()
    await expect(player.get_by_role("button", name="Pause")).to_be_visible()
    # The learner's line is the first to light up, then the tutor's.
    now = said.locator("[aria-current=true]")
    await expect(now).to_contain_text(HEARD[0])
    assert await look_at(page, "history-7-playing") == []
    await expect(now).to_contain_text("Would you like")
    await player.get_by_role("button", name="Pause").click()
    assert int(await position.input_value()) > 2000
    # And from any place that one points at.
    await said.get_by_role("button", name="Play from here: You").click()
    await expect(now).to_contain_text(HEARD[0])


async def test_words_are_searched_for(has_spoken: WebLearner) -> None:
    page = has_spoken.page
    await page.get_by_label("Search in what was said").fill("window")
    found = page.get_by_role("region", name="What was found")
    await expect(found).to_contain_text("sit by the window")
    await found.get_by_role("link").first.click()
    await expect(page.get_by_role("list", name="What was said")).to_contain_text(REPLIES[0])
    await page.go_back()
    await page.get_by_label("Search in what was said").fill("elephants")
    await expect(found.get_by_role("link")).to_have_count(0)


async def test_a_recording_is_downloaded(has_spoken: WebLearner) -> None:
    page = has_spoken.page
    await page.locator(".conversation-link").click()
    await expect(page.get_by_role("region", name="Recording")).to_be_visible()
    await page.get_by_role("button", name="Download").click()
    async with page.expect_download() as download:
        await page.get_by_role("dialog").get_by_role("button", name="WAV").click()
    file = Path(await (await download.value).path())
    assert file.read_bytes()[:4] == b"RIFF"
    assert file.stat().st_size > 2 * 16_000 * 2


async def test_a_deletion_can_be_undone_and_is_carried_out_otherwise(talker: Talker) -> None:
    learner = await has_written(talker)
    page = learner.page
    rows = page.locator(".conversation-row")
    await page.get_by_role("button", name="Delete “").click()
    await expect(rows).to_have_count(0)
    assert await look_at(page, "history-6-deleted") == []
    await page.get_by_role("button", name="Undo").first.click()
    await expect(rows).to_have_count(1)
    await page.get_by_role("button", name="Delete “").click()
    await expect(rows).to_have_count(0)
    # Whoever leaves has meant it, though the time to undo is not over.
    await page.reload()
    await expect(page.get_by_text("Your first talk will be here.")).to_be_visible()


async def test_the_profile_is_kept_and_everything_is_taken_along_and_deleted(
    talker: Talker, console: Console
) -> None:
    console.allow("status of 40[0-9]")
    learner = await has_written(talker)
    page = learner.page
    await page.goto("/settings")
    await page.get_by_label("What the tutor calls you").fill("Ana Maria")
    await page.get_by_role("button", name="Save").click()
    await expect(page.get_by_text("Saved")).to_be_visible()
    await page.reload()
    await expect(page.get_by_label("What the tutor calls you")).to_have_value("Ana Maria")

    await page.goto("/settings/data")
    async with page.expect_download() as download:
        await page.get_by_role("button", name="Make the copy").click()
    with zipfile.ZipFile(await (await download.value).path()) as copy:
        everything = b"".join(copy.read(name) for name in copy.namelist())
    assert b"Ana Maria" in everything
    assert HEARD[0].encode() in everything

    await page.get_by_role("button", name="Delete the account").click()
    dialog = page.get_by_role("dialog")
    assert await look_at(page, "settings-delete-account") == []
    await dialog.get_by_label("Type “delete”").fill("delete")
    await dialog.get_by_label("Your password", exact=True).fill(learner.password)
    await dialog.get_by_role("button", name="Delete for good").click()
    await expect(page.get_by_role("heading", name="Welcome back")).to_be_visible()
    await learner.sign_in()
    await expect(page.get_by_role("alert")).to_contain_text("do not go together")
