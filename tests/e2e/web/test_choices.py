"""Tutor, situation, voice and speed are chosen before a talk, changed in it, and can be heard."""

from __future__ import annotations

import pytest
from playwright.async_api import Locator, expect

from tests.e2e.web.conftest import Talker
from tests.e2e.web.learner import WebLearner
from tests.e2e.web.taps import Stretch, tapped
from tests.e2e.web.web_stack import HIGH_HZ, LOW_HZ, REPLIES, sounding_s

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.leaves_behind("a browser and a running Parley that the tests share"),
]


async def test_tutor_situation_voice_and_speed_are_chosen_before_a_talk_and_changed_in_it(
    talker: Talker,
) -> None:
    learner = await talker()
    page = learner.page
    await page.get_by_text("Tutor, voice and how you talk").click()
    await page.get_by_label("Tutor", exact=True).select_option("scripted-pipeline")
    await page.get_by_label("Voice").select_option("tone-low")
    await learner.start_typing()
    assert await diagnosed(learner, "Tutor and voice") == "scripted-pipeline, tone-low"

    # Another tutor and situation from inside it: that talk ends, and the next begins at once.
    await learner.write("I would rather be somewhere else.")
    await expect(learner.answers).to_have_count(1)
    await page.get_by_role("button", name="Tutor, voice and how you talk").click()
    settled = page.get_by_role("dialog", name="How you talk")
    await settled.get_by_label("Tutor", exact=True).select_option("scripted")
    await settled.get_by_label("Situation").select_option("At the airport")
    await settled.get_by_role("button", name="Begin a new talk").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("At the airport")
    await expect(learner.floor).to_have_text("Your turn")
    await expect(learner.said).to_have_count(0)
    assert (await diagnosed(learner, "Tutor and voice")).startswith("scripted, ")
    await learner.end_talk()

    # Another tutor for the next talk.
    await page.get_by_role("button", name="Another talk").click()
    await page.get_by_text("Tutor, voice and how you talk").click()
    await page.get_by_label("Tutor", exact=True).select_option("scripted")
    await page.get_by_label("Voice").select_option("tone-low")
    await learner.start_typing()
    assert await diagnosed(learner, "Tutor and voice") == "scripted, tone-low"
    await is_answered(learner, 1)
    first = await last_heard(learner)
    assert first.pitch_hz() == pytest.approx(LOW_HZ, abs=4)
    assert first.sounding_s == pytest.approx(sounding_s(REPLIES[0]), rel=0.1)

    # Another voice, and slower, from the next answer on.
    opener = page.get_by_role("button", name="Tutor, voice and how you talk")
    await opener.click()
    choices = page.get_by_role("dialog")
    await choices.get_by_label("Voice").select_option("tone")
    await choices.get_by_text("Slow", exact=True).click()
    await page.keyboard.press("Escape")
    await is_answered(learner, 2)
    second = (await last_heard(learner)).after(first)
    assert second.pitch_hz() == pytest.approx(HIGH_HZ, abs=4)
    assert second.sounding_s == pytest.approx(sounding_s(REPLIES[1]) / 0.7, rel=0.1)


async def is_answered(learner: WebLearner, count: int) -> None:
    await learner.write("I would rather write this.")
    await expect(learner.answers).to_have_text(list(REPLIES[:count]))
    await expect(learner.floor).to_have_text("Your turn")


async def last_heard(learner: WebLearner) -> Stretch:
    return (await tapped(learner.page, "loudspeaker"))[-1]


async def diagnosed(learner: WebLearner, name: str) -> str:
    await learner.page.get_by_role("button", name="Diagnostics").click()
    dialog = learner.page.get_by_role("dialog", name="Diagnostics")
    row: Locator = dialog.locator("dl > div").filter(has_text=name)
    told = await row.locator("dd").inner_text()
    await learner.page.keyboard.press("Escape")
    return told
