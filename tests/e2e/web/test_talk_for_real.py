"""One talk with real models: what was said is written, what was written is said aloud.

What is played is copied by the page's own worklet, for whoever sets `parley.tap` in the session's
storage.
"""

from __future__ import annotations

import asyncio
import base64
import wave
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from playwright.async_api import Page, expect

from tests.e2e.conftest import SPEECH
from tests.e2e.listening import word_error_rate, write_down
from tests.e2e.web.conftest import OpenPage
from tests.e2e.web.learner import WebLearner
from tests.e2e.web.microphone import Microphone, recordings
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


@pytest.fixture(scope="module")
def real_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Parley on real models over TLS, without which a browser streams no upload."""
    with web_stack(tmp_path_factory.mktemp("r"), engine="local") as stack:
        yield stack


@pytest.mark.parametrize("way", WAYS)
async def test_speech_becomes_captions_and_the_answer_is_heard_as_it_is_written(
    real_stack: Stack, open_page: OpenPage, microphone: Microphone, tmp_path: Path, way: str
) -> None:
    learner = WebLearner(await open_page(real_stack, tapped=False, transport=way))
    await learner.page.add_init_script(
        "if (location.origin !== 'null') sessionStorage.setItem('parley.tap', '1')"
    )
    await learner.sign_up()
    await learner.is_signed_in()
    microphone.will_say(1.0, *recordings(SPEECH, ["014070080.wav"]))
    await learner.start_talking()
    assert WAYS[way] in await learner.way()
    await expect(learner.answers).to_have_count(1, timeout=30_000)
    await expect(learner.floor).to_have_text("Your turn", timeout=60_000)
    # Before the tutor asks whether anybody is there: reading back what was said takes a while.
    said = await learner.said.first.inner_text()
    answer = await learner.answers.first.inner_text()
    assert word_error_rate("The people were very friendly.", said) <= 0.5
    file = tmp_path / "answer.wav"
    await write_played(learner.page, file)
    # A talk that is left rather than ended keeps its place, and real models have few.
    await learner.end_talk()
    heard = await asyncio.to_thread(write_down, file)
    assert word_error_rate(answer, heard) <= 0.25


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
