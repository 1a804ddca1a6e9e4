"""The bounded queue between a session and its reader."""

import asyncio

import pytest

from services.ai.capabilities import ProviderError
from services.ai.engine import ReplyAudio, ReplyText, SpeechStarted
from services.ai.outbox import MAX_WAITING, MAX_WAITING_AUDIO, Outbox


def audio(generation: int, offset_ms: int = 0) -> ReplyAudio:
    return ReplyAudio(1, generation, b"\0\0", offset_ms)


async def test_a_dropped_reply_is_never_read():
    box = Outbox()
    box.put(ReplyText(1, 3, "old", 0, ()))
    box.put(audio(3))
    box.put(SpeechStarted(10))
    box.put(audio(4))
    box.drop_reply(3)
    assert await box.get() == SpeechStarted(10)
    assert await box.get() == audio(4)


async def test_audio_waits_for_a_slow_reader_and_control_does_not():
    box = Outbox()
    for offset in range(MAX_WAITING_AUDIO):
        await box.put_audio(audio(1, offset))
    waiting = asyncio.create_task(box.put_audio(audio(1, 999)))
    await asyncio.sleep(0)
    box.put(SpeechStarted(5))
    assert not waiting.done()
    await box.get()
    await waiting


async def test_dropping_a_reply_frees_the_writer():
    box = Outbox()
    for offset in range(MAX_WAITING_AUDIO):
        await box.put_audio(audio(1, offset))
    waiting = asyncio.create_task(box.put_audio(audio(2)))
    await asyncio.sleep(0)
    box.drop_reply(1)
    await waiting
    assert await box.get() == audio(2)


async def test_a_reader_that_is_gone_ends_the_session():
    box = Outbox()
    for at_ms in range(MAX_WAITING):
        box.put(SpeechStarted(at_ms))
    with pytest.raises(ProviderError):
        box.put(SpeechStarted(0))


async def test_what_is_in_a_closed_box_can_still_be_read():
    box = Outbox()
    box.put(SpeechStarted(1))
    box.close()
    box.put(SpeechStarted(2))
    assert await box.get() == SpeechStarted(1)
    assert await box.get() is None


async def test_closing_wakes_the_reader():
    box = Outbox()
    reading = asyncio.create_task(box.get())
    await asyncio.sleep(0)
    box.close()
    assert await reading is None
