"""Talks with real models: what is said is written, what is written is said, and both are kept.

What is played is copied by the page's own worklet, for whoever sets `parley.tap` in the session's
storage.
"""

from __future__ import annotations

import asyncio
import base64
import re
import wave
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from tests.e2e.conftest import SPEECH
from tests.e2e.listening import word_error_rate, write_down
from tests.e2e.web.chromium import chromium
from tests.e2e.web.conftest import OpenPage
from tests.e2e.web.console import Console
from tests.e2e.web.learner import WebLearner
from tests.e2e.web.microphone import Microphone, recordings
from tests.e2e.web.taps import tapped
from tests.e2e.web.test_talk import WAYS
from tests.e2e.web.web_stack import web_stack
from tests.stack import Stack

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.models,
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.leaves_behind("a browser and a running Parley that the tests share"),
    pytest.mark.timeout(240),
]

SAYS = {
    "014070080.wav": "THE PEOPLE WERE VERY FRIENDLY",
    "021290121.wav": "WAKE UP AND MAKE IT HAPPEN",
}
"""Two learners whom the preset's small recognizer understands."""

SPOKEN = tuple(SAYS)

PAUSE_S = 5.0
"""Between the two. Where the tutor is still speaking then, the second breaks in."""

GREETING_S = 8.0
"""The tutor's first words take less; where they do not, they are broken in on."""

MOST_WRONG = 0.25

PLAYED_AT_MOST = 3
"""A browser on a busy machine stutters; a listener would play it again."""

ALL_IS_SAID = """(words) => {
  const all = (what) => [...document.querySelectorAll(`.transcript ${what}`)];
  const said = all(".line-learner p").map((each) => each.innerText);
  return said.join(" ").split(/\\s+/).length >= words
    && all(".line-tutor p").length >= said.length
    && all(".line-partial").length === 0
    && document.querySelector(".dock-words strong").innerText === "Your turn";
}"""
"""So many words were understood, everything is answered, and every answer was heard."""

CUT = re.compile(r" ?— stopped .*")

TAP = "if (location.origin !== 'null') sessionStorage.setItem('parley.tap', '1')"


@pytest.fixture(scope="module")
def real_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Parley on real models over TLS, without which a browser streams no upload."""
    with web_stack(tmp_path_factory.mktemp("r"), engine="local") as stack:
        yield stack


@pytest_asyncio.fixture(loop_scope="session")
async def plain_browser(microphone: Microphone) -> AsyncIterator[Browser]:
    """Yield a browser as a learner has it: our microphone is in it, and no other favour."""
    async with chromium(microphone.path, favours=False) as running:
        yield running


@pytest.mark.parametrize("way", WAYS)
async def test_speech_becomes_captions_and_the_answers_are_heard_as_they_are_written(
    real_stack: Stack, open_page: OpenPage, microphone: Microphone, tmp_path: Path, way: str
) -> None:
    learner = WebLearner(await open_page(real_stack, transport=way))
    await learner.page.add_init_script(TAP)
    await learner.sign_up()
    await learner.is_signed_in()
    first, second = recordings(SPEECH, SPOKEN)
    microphone.will_say(1.0, first, PAUSE_S, second)
    await learner.start_talking()
    assert WAYS[way] in await learner.way()
    answers = await is_understood_and_answered(learner, SPOKEN, tmp_path)
    if way == "upload":
        await is_kept(learner, SPOKEN, answers[-1], tmp_path)


async def test_what_make_run_gives_a_learner_needs_one_click(
    local_stack: Stack,
    plain_browser: Browser,
    microphone: Microphone,
    console: Console,
    tmp_path: Path,
) -> None:
    """Plain HTTP on this machine, no wish of ours, and sound as any browser treats it.

    The tutor begins; echo, noise and level are taken care of, and sound plays since somebody
    clicked.
    """
    context = await plain_browser.new_context(base_url=local_stack.url)
    await console.watch(context)
    await context.add_init_script(TAP)
    learner = WebLearner(await context.new_page())
    await learner.sign_up()
    await learner.is_signed_in()
    spoken = ("014070080.wav",)
    microphone.will_say(GREETING_S, *recordings(SPEECH, spoken))
    await learner.page.get_by_role("button", name="Start talking").click()
    await expect(learner.said).not_to_have_count(0, timeout=30_000)
    assert WAYS["push"] in await learner.way()
    answers = await is_understood_and_answered(learner, spoken, tmp_path)
    assert len(answers) >= 2, "the tutor did not begin"
    await context.close()


async def is_understood_and_answered(
    learner: WebLearner, spoken: tuple[str, ...], folder: Path
) -> list[str]:
    """See that captions and sound are right; end the talk; return the answers as they are shown."""
    expected = said_in(spoken)
    enough = len(expected.split()) - 1
    await learner.page.wait_for_function(ALL_IS_SAID, arg=enough, timeout=90_000)
    # Before the tutor asks whether anybody is there: reading back what was said takes a while.
    said = " ".join(await learner.said.all_inner_texts())
    answers = [CUT.sub("", each) for each in await learner.answers.all_inner_texts()]
    file = folder / "answers.wav"
    await write_played(learner.page, file)
    # A talk that is left rather than ended keeps its place, and real models have few.
    await learner.end_talk()
    assert word_error_rate(expected, said) <= MOST_WRONG, said
    heard = await asyncio.to_thread(write_down, file)
    assert word_error_rate(" ".join(answers), heard) <= MOST_WRONG, heard
    return answers


async def is_kept(
    learner: WebLearner, spoken: tuple[str, ...], last_answer: str, folder: Path
) -> None:
    """See that History plays the last answer, and gives what the learner said as a file."""
    page = learner.page
    await page.get_by_role("link", name="Read and listen again").click()
    player = page.get_by_role("region", name="Recording")
    before = None
    for _ in range(PLAYED_AT_MOST):
        await page.get_by_role("button", name="Play from here: Tutor").last.click()
        await expect(player.get_by_role("button", name="Pause")).to_be_visible()
        await expect(player.get_by_role("button", name="Play the recording")).to_be_visible(
            timeout=60_000
        )
        whole = (await tapped(page, "loudspeaker"))[-1]
        played = whole if before is None else whole.after(before)
        heard = await asyncio.to_thread(write_down, played.write(folder / "played.wav"))
        if word_error_rate(last_answer, heard) <= MOST_WRONG:
            break
        before = whole
    else:
        pytest.fail(f"{last_answer!r} was played as {heard!r}")

    await page.get_by_role("button", name="Download").click()
    dialog = page.get_by_role("dialog")
    await dialog.get_by_label("Whose voice").select_option("Only you")
    async with page.expect_download() as download:
        await dialog.get_by_role("button", name="WAV").click()
    file = Path(await (await download.value).path())
    words = await asyncio.to_thread(write_down, file)
    assert word_error_rate(said_in(spoken), words) <= MOST_WRONG, words


def said_in(spoken: tuple[str, ...]) -> str:
    return " ".join(SAYS[name] for name in spoken)


async def write_played(page: Page, file: Path) -> None:
    """Write what the page's loudspeaker played."""
    text = await page.evaluate("""() => {
      const { blocks } = parleyTap;
      let text = "";
      for (const block of blocks) {
        text += String.fromCharCode(...new Uint8Array(block.buffer));
      }
      return btoa(text);
    }""")
    samples = np.frombuffer(base64.b64decode(text), np.float32)
    with wave.open(str(file), "wb") as audio:
        audio.setnchannels(1)
        audio.setsampwidth(2)
        audio.setframerate(await page.evaluate("parleyTap.rateHz"))
        audio.writeframes((samples * 32767).astype(np.int16).tobytes())
