"""One talk with real models: what was said is written, what was written is said aloud."""

from __future__ import annotations

import asyncio
import wave
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.async_api import expect

from tests.e2e.conftest import SPEECH
from tests.e2e.listening import word_error_rate, write_down
from tests.e2e.web.conftest import Talker
from tests.e2e.web.microphone import Microphone, recordings
from tests.e2e.web.taps import Stretch, tapped
from tests.e2e.web.web_stack import web_stack
from tests.stack import Stack

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.models,
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.leaves_behind("a browser that the tests share"),
    pytest.mark.timeout(240),
]

SAID = {
    "022820134.wav": "What a great Sunday morning.",
    "000360210.wav": "Starting can not be better than this.",
}


@pytest.fixture
def real_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Parley on the real models of the preset `test`."""
    with web_stack(tmp_path_factory.mktemp("r"), engine="local") as stack:
        yield stack


async def test_speech_becomes_captions_and_the_answer_is_heard_as_it_is_written(
    real_stack: Stack, talker: Talker, microphone: Microphone, tmp_path: Path
) -> None:
    learner = await talker(real_stack)
    for number, (name, said) in enumerate(SAID.items(), 1):
        microphone.will_say(1.0, *recordings(SPEECH, [name]))
        if number == 1:
            await learner.start_talking()
        else:
            # The file begins anew when the microphone is opened anew.
            await learner.page.get_by_role("button", name="Another talk").click()
            await learner.start_talking()
        await expect(learner.answers).to_have_count(1, timeout=30_000)
        await expect(learner.floor).to_have_text("Your turn", timeout=60_000)
        assert word_error_rate(said, await learner.said.inner_text()) <= 0.5
        answer = await learner.answers.inner_text()
        heard = (await tapped(learner.page, "loudspeaker"))[-1]
        file = tmp_path / f"{number}.wav"
        write(heard, file)
        assert word_error_rate(answer, await asyncio.to_thread(write_down, file)) <= 0.25
        await learner.end_talk()


def write(heard: Stretch, file: Path) -> None:
    with wave.open(str(file), "wb") as audio:
        audio.setnchannels(1)
        audio.setsampwidth(2)
        audio.setframerate(heard.rate_hz)
        audio.writeframes(heard.samples.tobytes())
