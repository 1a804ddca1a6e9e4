"""What somebody chooses is kept, and is what the next talk goes by."""

from __future__ import annotations

import pytest
from playwright.async_api import expect

from tests.e2e.web.learner import WebLearner
from tests.e2e.web.taps import tapped
from tests.e2e.web.web_stack import LOW_HZ, REPLIES

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.leaves_behind("a browser and a running Parley that the tests share"),
]

MOVING = """() => document.getAnimations().filter((each) => {
  const { duration, iterations } = each.effect.getComputedTiming();
  return each.playState !== "finished" && duration > 1 && iterations === Infinity;
}).length"""
"""How many things move without an end, now or whenever somebody speaks."""


async def test_what_the_tutor_is_told_of_somebody_is_kept(learner: WebLearner) -> None:
    page = learner.page
    await page.goto("/settings")
    level = page.get_by_label("Your level")
    await level.select_option(label="B2 · Upper intermediate")
    await page.get_by_label("Your first language").select_option("es")
    goal = page.get_by_role("textbox", name="What you want to reach")
    await goal.fill("Pass my interview in May")
    await goal.press("Enter")
    await page.get_by_role("button", name="Save", exact=True).click()
    await expect(page.get_by_text("Saved", exact=True)).to_be_visible()
    await page.goto("/settings/talking")
    patience = page.get_by_label("How long the tutor waits for you")
    await patience.fill("0.9")
    await expect(page.get_by_text("Saved", exact=True)).to_be_visible()
    await page.reload()
    await expect(patience).to_have_value("0.9")
    await page.goto("/settings")
    await expect(level.locator("option:checked")).to_have_text("B2 · Upper intermediate")
    await expect(page.get_by_label("Your first language")).to_have_value("es")
    goals = page.get_by_role("list", name="What you want to reach")
    await expect(goals).to_contain_text("Pass my interview in May")


async def test_the_voice_of_the_account_is_the_one_that_answers(learner: WebLearner) -> None:
    page = learner.page
    await learner.is_signed_in()
    await page.goto("/settings/voice")
    await page.get_by_label("Voice", exact=True).select_option("tone-low")
    await expect(page.get_by_text("Saved", exact=True)).to_be_visible()
    await learner.go_to("Talk")
    await learner.start_typing()
    await learner.write("I would rather write this.")
    await expect(learner.answers).to_have_text([REPLIES[0]])
    await expect(learner.floor).to_have_text("Your turn")
    (said,) = await tapped(page, "loudspeaker")
    assert said.pitch_hz() == pytest.approx(LOW_HZ, abs=4)


async def test_the_situation_that_was_chosen_is_the_one_talked_about(learner: WebLearner) -> None:
    page = learner.page
    await page.emulate_media(reduced_motion="reduce")
    # The card is what a finger meets; its radio button is out of sight.
    await page.locator(".scenario").filter(has_text="At the airport").click()
    await learner.start_typing()
    await expect(page.get_by_role("heading", level=1)).to_have_text("At the airport")
    assert await page.evaluate(MOVING) == 0
    await page.emulate_media(reduced_motion="no-preference")
    assert await page.evaluate(MOVING) > 0
    await learner.end_talk()
    await learner.go_to("History")
    await expect(page.locator(".conversation-row")).to_contain_text("At the airport")
