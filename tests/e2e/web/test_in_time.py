"""What is shown of the sound keeps its time: level, captions, and the silence between the two."""

from __future__ import annotations

import numpy as np
import pytest
from playwright.async_api import Page, expect

from tests.e2e.web.conftest import Talker
from tests.e2e.web.microphone import Microphone, tone
from tests.e2e.web.taps import tapped
from tests.e2e.web.web_stack import HEARD, MS_PER_WORD, REPLIES

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.leaves_behind("a browser and a running Parley that the tests share"),
]

WATCH = """() => {
  window.watched = { levels: [], words: [], captions: [] };
  const draw = () => {
    const at = performance.now();
    const level = Number(document.querySelector(".orb")?.style.getPropertyValue("--level"));
    watched.levels.push([at, level]);
    const now = document.querySelector(".transcript .word-now");
    const word = now && [...now.closest("p").children].indexOf(now.parentElement);
    if (now && watched.words.at(-1)?.[1] !== word) watched.words.push([at, word]);
    const said = document.querySelector(".transcript .line-learner p");
    const caption = said && [said.textContent, said.classList.contains("line-partial")];
    if (said && watched.captions.at(-1)?.join() !== caption.join()) watched.captions.push(caption);
    requestAnimationFrame(draw);
  };
  draw();
}"""


MOVES = """() => document.getAnimations().filter((each) =>
  each.playState === "running" && each.effect.getTiming().iterations === Infinity).length"""
"""How much moves without end, whatever happens."""


async def test_what_is_shown_follows_what_is_said_and_heard(
    talker: Talker, microphone: Microphone
) -> None:
    learner = await talker()
    page = learner.page
    await page.evaluate(WATCH)
    microphone.will_say(1.0, tone(1.5))
    await learner.start_talking()
    await expect(learner.answers).to_have_text([REPLIES[0]])
    await expect(learner.floor).to_have_text("Your turn")
    # In silence nothing is drawn: it would take time from whoever has the models to run as well.
    assert await page.evaluate(MOVES) == 0
    await the_level_moved_with_the_microphone(page)
    await the_words_lit_up_with_the_voice(page)
    await the_captions_grew_while_it_was_said(page)
    await the_silence_shown_is_the_one_heard(page)


async def the_level_moved_with_the_microphone(page: Page) -> None:
    (heard,) = await tapped(page, "microphone")
    loud = heard.loud_at()
    times, levels = np.array(await page.evaluate("watched.levels")).T
    # Well inside both: it rises within a frame or two, and sinks slowly.
    speaking = levels[(times > loud[0] + 300) & (times < loud[-1] - 100)]
    before = levels[(times > loud[0] - 700) & (times < loud[0] - 100)]
    assert np.median(speaking) > 0.5
    assert np.median(before) < 0.1


async def the_words_lit_up_with_the_voice(page: Page) -> None:
    (said,) = await tapped(page, "loudspeaker")
    began = said.loud_at()[0]
    times, words = np.array(await page.evaluate("watched.words")).T
    late = times - began - words * MS_PER_WORD
    assert len(late) > len(REPLIES[0].split()) / 2, "few words lit up at all"
    assert abs(np.median(late)) < 120, f"{late} ms after their words"


async def the_captions_grew_while_it_was_said(page: Page) -> None:
    captions = await page.evaluate("watched.captions")
    assert captions[-1] == [HEARD[0], False]
    partial = [text for text, unfinished in captions if unfinished]
    assert partial, "nothing was shown before the whole was"
    assert all(text for text in partial)


async def the_silence_shown_is_the_one_heard(page: Page) -> None:
    (heard,) = await tapped(page, "microphone")
    (said,) = await tapped(page, "loudspeaker")
    silence_ms = said.loud_at()[0] - heard.loud_at()[-1]
    shown = await page.locator(".line-silence").inner_text()
    assert float(shown.removesuffix("ms")) == pytest.approx(silence_ms, abs=120)
