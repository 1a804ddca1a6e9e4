"""Talking in the browser: spoken into its microphone, heard on its loudspeaker, over every way."""

from __future__ import annotations

import asyncio
import re

import numpy as np
import pytest
from playwright.async_api import Page, expect

from parley.conversation.v1 import conversation_pb2
from tests.e2e.conftest import SPEECH
from tests.e2e.web.conftest import Talker
from tests.e2e.web.learner import WebLearner
from tests.e2e.web.microphone import Microphone, recordings, tone
from tests.e2e.web.taps import Stretch, is_silent, tapped
from tests.e2e.web.web_stack import HEARD, REPLIES, sounding_s

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.leaves_behind("a browser and a running Parley that the tests share"),
]

WAYS = {
    "upload": "Streamed upload",
    "push": "Batches",
    "websocket": "WebSocket",
}

KEEP_STREAM = """
const found = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
navigator.mediaDevices.getUserMedia = async (wishes) => (window.lastStream = await found(wishes));
"""

BROKEN_OFF = re.compile(r" — \w+ \w+")


async def played(learner: WebLearner) -> Stretch:
    """Return what the loudspeaker played in the only talk so far."""
    (stretch,) = await tapped(learner.page, "loudspeaker")
    return stretch


async def test_a_recording_is_heard_answered_and_saved_over_every_way(
    talker: Talker, microphone: Microphone
) -> None:
    learners = {way: await talker(transport=way) for way in WAYS}
    microphone.will_say(0.7, *recordings(SPEECH, ["022820134.wav"]))
    await asyncio.gather(*(is_heard(learner, way) for way, learner in learners.items()))


async def is_heard(learner: WebLearner, transport: str) -> None:
    await learner.start_talking()
    assert WAYS[transport] in await learner.way()
    await expect(learner.said).to_have_text([HEARD[0]])
    await expect(learner.answers).to_have_text([REPLIES[0]])
    await expect(learner.floor).to_have_text("Your turn")
    assert (await played(learner)).sounding_s == pytest.approx(sounding_s(REPLIES[0]), rel=0.1)
    await learner.end_talk()
    await expect(learner.page.locator(".summary-figures")).to_contain_text("Turn1")


async def test_the_best_way_is_chosen_by_itself(talker: Talker, microphone: Microphone) -> None:
    learner = await talker()
    microphone.will_say()
    await learner.start_talking()
    assert WAYS["upload"] in await learner.way()


async def test_speaking_over_the_tutor_silences_the_loudspeaker_over_every_way(
    talker: Talker, microphone: Microphone
) -> None:
    learners = {way: await talker(transport=way) for way in WAYS}
    told = heard_reports(learners["websocket"].page)
    microphone.will_say(0.5, tone(1.0), 1.7, tone(1.2))
    await asyncio.gather(*(speaks_over_the_tutor(learner) for learner in learners.values()))
    await the_server_was_told_what_was_heard(learners["websocket"], told)


async def speaks_over_the_tutor(learner: WebLearner) -> None:
    await learner.start_talking()
    await expect(learner.answers.first).to_have_text(BROKEN_OFF)
    await expect(learner.answers).to_have_count(2)
    # What is kept of the first answer is what was heard of it.
    kept = (await learner.answers.first.inner_text()).partition("—")[0].strip()
    assert kept, "nothing of it is said to have been heard"
    assert REPLIES[0].startswith(kept)
    assert kept != REPLIES[0]
    # On the page's own clock: the learner's second utterance, and the tutor's next silence.
    await expect(learner.answers.nth(1)).to_have_text(REPLIES[1])
    (heard,) = await tapped(learner.page, "microphone")
    spoken = heard.loud_at()
    began = spoken[np.flatnonzero(np.diff(spoken) > 500)[0] + 1]
    sounds = (await played(learner)).loud_at()
    assert np.any((sounds > began - 500) & (sounds < began)), "the tutor was not speaking"
    stopped = sounds[(sounds > began) & (sounds < began + 1000)]
    assert len(stopped) == 0 or stopped[-1] - began < 700


async def the_server_was_told_what_was_heard(
    learner: WebLearner, told: list[tuple[int, int]]
) -> None:
    """Compare what the page reported of its first answer with what the loudspeaker gave out."""
    sounds = (await played(learner)).loud_at()
    first = sounds[: np.flatnonzero(np.diff(sounds) > 500)[0] + 1]
    answer = min(generation for generation, _ in told)
    heard_ms = [audio_ms for generation, audio_ms in told if generation == answer]
    assert len(heard_ms) > 2
    assert heard_ms == sorted(heard_ms)
    assert heard_ms[-1] == pytest.approx(first[-1] - first[0], abs=150)


def heard_reports(page: Page) -> list[tuple[int, int]]:
    """Return what the page will have reported: of which reply, and how many milliseconds of it."""
    reports: list[tuple[int, int]] = []

    def read(payload: str | bytes) -> None:
        assert isinstance(payload, bytes)
        request = conversation_pb2.ConverseRequest.FromString(payload)
        if request.HasField("heard"):
            reports.append((request.heard.generation, request.heard.audio_ms))

    page.on("websocket", lambda socket: socket.on("framesent", read))
    return reports


async def test_the_stop_button_silences_the_loudspeaker(
    talker: Talker, microphone: Microphone
) -> None:
    learner = await talker()
    microphone.will_say(0.5, tone(1.0))
    await learner.start_talking()
    await expect(learner.floor).to_have_text("Speaking")
    await learner.page.get_by_role("button", name="Stop the tutor").click()
    # The tap speaks of blocks of 43 ms; the last one before the click may still be on its way.
    await asyncio.sleep(0.3)
    assert await is_silent(learner.page)
    await expect(learner.answers.first).to_have_text(BROKEN_OFF)
    await expect(learner.floor).to_have_text("Your turn")


async def test_push_to_talk_hears_only_while_the_button_is_held(
    talker: Talker, microphone: Microphone
) -> None:
    learner = await talker(pushToTalk=True)
    microphone.will_say(tone(25.0))
    await learner.start_talking()
    control = learner.page.get_by_role("button", name="Hold to talk")
    await asyncio.sleep(1.0)
    await expect(learner.said).to_have_count(0)
    await control.hover()
    await learner.page.mouse.down()
    await expect(learner.floor).to_have_text("Listening")
    await asyncio.sleep(1.0)
    await learner.page.mouse.up()
    await expect(learner.said).to_have_text([HEARD[0]])
    await expect(learner.answers).to_have_text([REPLIES[0]])
    # The space bar is the same button.
    await expect(learner.floor).to_have_text("Your turn")
    await learner.page.keyboard.down("Space")
    await asyncio.sleep(1.0)
    await learner.page.keyboard.up("Space")
    await expect(learner.said).to_have_text(list(HEARD[:2]))


async def test_what_is_typed_is_answered_aloud(talker: Talker) -> None:
    learner = await talker()
    await learner.start_typing()
    await learner.write("I would rather write this.")
    await expect(learner.said).to_have_text(["I would rather write this."])
    await expect(learner.answers).to_have_text([REPLIES[0]])
    await expect(learner.floor).to_have_text("Your turn")
    assert (await played(learner)).sounding_s == pytest.approx(sounding_s(REPLIES[0]), rel=0.1)
    await learner.page.get_by_role("button", name="Say that again", exact=True).click()
    await expect(learner.page.get_by_role("button", name="Stop repeating")).to_be_visible()
    await expect(
        learner.page.get_by_role("button", name="Say that again", exact=True)
    ).to_be_visible()
    twice = sum(each.sounding_s for each in await tapped(learner.page, "loudspeaker"))
    assert twice == pytest.approx(2 * sounding_s(REPLIES[0]), rel=0.1)


async def test_captions_only_is_silent(talker: Talker) -> None:
    learner = await talker(captionsOnly=True)
    await learner.start_typing()
    await learner.write("Please write back.")
    await expect(learner.answers).to_have_text([REPLIES[0]])
    await expect(learner.floor).to_have_text("Your turn")
    assert (await played(learner)).sounding_s == 0


async def test_the_tutor_is_taken_out_of_what_the_microphone_hears(
    talker: Talker, microphone: Microphone
) -> None:
    learner = await talker(rawMicrophone=False)
    await learner.page.add_init_script(KEEP_STREAM)
    await learner.reload_signed_in()
    microphone.will_say()
    await learner.start_talking()
    assert await learner.page.evaluate(
        "window.lastStream.getAudioTracks()[0].getSettings().echoCancellation"
    )


async def test_a_muted_learner_is_not_heard(talker: Talker, microphone: Microphone) -> None:
    learner = await talker()
    microphone.will_say(1.5, tone(1.0), 1.0, tone(1.0))
    await learner.start_talking()
    await learner.page.get_by_role("button", name="Mute", exact=True).click()
    await expect(learner.floor).to_have_text("Muted")
    await asyncio.sleep(2.5)
    await expect(learner.said).to_have_count(0)
    await learner.page.get_by_role("button", name="Unmute", exact=True).click()
    await expect(learner.said).to_have_text([HEARD[0]])
