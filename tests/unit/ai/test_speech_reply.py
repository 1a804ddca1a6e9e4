"""What a reply of a speech-to-speech model is counted as, however it ends."""

from __future__ import annotations

import pytest

from services.ai.capabilities import ProviderError
from services.ai.engine import Used
from services.ai.engines.speech_reply import SpeechReply
from services.ai.engines.stages import Marks
from services.ai.outbox import Outbox
from services.ai.speech_model import ReplyDone, TutorAudio, TutorWords

RATE_HZ = 24_000
WORDS = "Nice to meet you."


def begun() -> tuple[SpeechReply, Used]:
    """Return a reply of which a second of sound has come, all words in it."""
    used = Used()
    reply = SpeechReply(
        generation=1,
        marks=Marks(0.0),
        rate_hz=RATE_HZ,
        speed=1.0,
        aloud=True,
        outbox=Outbox(),
        used=used,
        on_text=lambda _: None,
    )
    reply.add(TutorWords(WORDS))
    reply.add(TutorAudio(bytes(2 * RATE_HZ)))
    return reply, used


def test_a_complete_reply_is_what_the_provider_says():
    reply, used = begun()
    reply.finish(ReplyDone(70, 900))
    reply.abandon()
    assert used == Used(output_tokens=70, characters=len(WORDS))


@pytest.mark.parametrize("times", [1, 2])
def test_one_that_is_cut_off_is_estimated_once_by_what_came(times: int):
    reply, used = begun()
    for _ in range(times):
        reply.abandon()
    assert 20 <= used.output_tokens <= 25
    assert 0 < used.characters <= len(WORDS)


def test_one_that_fails_or_is_not_told_of_is_estimated_too():
    reply, used = begun()
    reply.fail(ProviderError("it broke", retryable=True))
    assert used.output_tokens == 24
    reply, used = begun()
    reply.finish(ReplyDone())
    assert used == Used(output_tokens=24, characters=len(WORDS))
