"""What could be said better stands beside what was said, and nothing of the talk waits for it."""

from __future__ import annotations

import pytest
from playwright.async_api import expect

from tests.e2e.web.learner import WebLearner
from tests.e2e.web.looks import WIDTHS, box_of, look_at, overlap
from tests.e2e.web.taps import tapped
from tests.e2e.web.web_stack import REPLIES, sounding_s

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.leaves_behind("a browser and a running Parley that the tests share"),
]

SAID = "Yesterday I go to the market with my sister."
"""The scripted corrector knows what is wrong with it."""


async def test_a_correction_stands_beside_its_turn_and_over_nothing(learner: WebLearner) -> None:
    page = learner.page
    await learner.start_typing()
    await learner.write(SAID)
    notes = page.get_by_role("list", name="Notes on what you said")
    await expect(notes).to_contain_text("Yesterday I went")
    await expect(page.locator(".transcript mark")).to_have_text("Yesterday I go")
    # The answer was not held up by it, nor broken off.
    await expect(learner.answers).to_have_text([REPLIES[0]])
    await expect(learner.floor).to_have_text("Your turn")
    (said,) = await tapped(page, "loudspeaker")
    assert said.sounding_s == pytest.approx(sounding_s(REPLIES[0]), rel=0.1)

    around = [page.locator(where) for where in (".turn-lines", ".dock", ".talk-head")]
    for name, (wide, high) in WIDTHS.items():
        await page.set_viewport_size({"width": wide, "height": high})
        note = await box_of(notes)
        for each in around:
            assert not overlap(note, await box_of(each)), f"{name}: it lies over {each}"
        lines = await box_of(around[0])
        beside = note["x"] >= lines["x"] + lines["width"]
        assert beside == (name == "wide"), f"{name}: {note} beside {lines}"
    assert await look_at(page, "talk-8-corrected") == []

    await learner.end_talk()
    await expect(page.get_by_role("heading", name="Worth remembering")).to_be_visible()
    await expect(notes).to_contain_text("Yesterday I went")
    assert await look_at(page, "talk-9-summary-corrected") == []
    await page.get_by_role("link", name="Read and listen again").click()
    await expect(page.get_by_role("list", name="What was said")).to_contain_text("Yesterday I went")
    assert await look_at(page, "history-7-corrected") == []
