"""What every recognizer promises to its callers, whoever made it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import pytest
from pydantic import SecretStr

from parley_models import ModelsError, ModelStore, default_models_dir
from services.ai.adapters import openai_transcription
from services.ai.adapters.moonshine import TINY_PIECE_S, MoonshineRecognizer
from services.ai.adapters.moonshine_model import MergedMoonshine
from services.ai.adapters.scripted import ScriptedRecognizer
from services.ai.capabilities import (
    Pcm16,
    ProviderBusyError,
    ProviderError,
    ProviderRefusedError,
    ProviderTimeoutError,
    Recognizer,
    WordTiming,
)
from services.ai.compute import ComputePool
from services.ai.engine_file import OpenAiTranscription
from services.ai.script import Script
from tests.contract.vendors.faults import Break, Broken, Refusal
from tests.contract.vendors.openai_server import KEY, MODEL, openai_server

HEARD = "Um, yesterday I goed to the café, 日本語!"


@dataclass(slots=True)
class Subject:
    """A recognizer under test. ``vendor`` is the stand-in it is connected to, if any."""

    recognizer: Recognizer
    vendor: Any = None
    hears: str = ""


Make: TypeAlias = Callable[..., AbstractAsyncContextManager[Subject]]


@asynccontextmanager
async def scripted() -> AsyncIterator[Subject]:
    script = Script.model_validate({"recognizer": {"texts": [HEARD]}})
    yield Subject(ScriptedRecognizer(script), hears=HEARD)


@asynccontextmanager
async def openai_compatible(**settings: object) -> AsyncIterator[Subject]:
    async with openai_server() as vendor:
        vendor.reply = HEARD
        part = OpenAiTranscription.model_validate(
            {"adapter": "openai", "base_url": vendor.base_url, "model": MODEL, **settings}
        )
        recognizer = openai_transcription.recognizer("the-ear", part, SecretStr(KEY))
        try:
            yield Subject(recognizer, vendor, HEARD)
        finally:
            await recognizer.aclose()
        await vendor.http.until_connected(0)


@asynccontextmanager
async def whisper(**settings: object) -> AsyncIterator[Subject]:
    async with openai_compatible(word_times=True, prompt="Um, let me think.", **settings) as made:
        yield made


REMOTE: dict[str, Make] = {"openai": openai_compatible, "openai, word times": whisper}


@pytest.fixture(scope="module")
def moonshine() -> Iterator[Recognizer | None]:
    try:
        folder = ModelStore(default_models_dir()).path("moonshine-tiny-en")
    except ModelsError:
        yield None
        return
    pool = ComputePool(1, 8)
    asyncio.run(pool.run(int))  # its thread is the module's, not a test's
    yield MoonshineRecognizer(MergedMoonshine(folder), pool, piece_s=TINY_PIECE_S)
    pool.close()


@pytest.fixture(params=["scripted", pytest.param("local", marks=pytest.mark.models), *REMOTE])
def every_recognizer(request: pytest.FixtureRequest, moonshine: Recognizer | None) -> Make:
    @asynccontextmanager
    async def local() -> AsyncIterator[Subject]:
        if moonshine is None:
            pytest.skip("the `test` preset is not installed: parley models fetch --preset test")
        yield Subject(moonshine)

    return {"scripted": scripted, "local": local, **REMOTE}[request.param]


@pytest.fixture(params=["scripted", *REMOTE])
def quick_recognizer(request: pytest.FixtureRequest) -> Make:
    """Those that five minutes of sound cost no minutes of work."""
    return {"scripted": scripted, **REMOTE}[request.param]


@pytest.fixture(params=REMOTE)
def remote_recognizer(request: pytest.FixtureRequest) -> Make:
    return REMOTE[request.param]


def tone(seconds: float) -> Pcm16:
    time = np.arange(int(seconds * 16_000)) / 16_000
    return (8000 * np.sin(2 * np.pi * 300 * time)).astype(np.int16)


# --- bad input --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "audio", [np.zeros(0, np.int16), np.zeros(16_000, np.int16)], ids=["none", "silence"]
)
async def test_no_sound_is_no_words_and_no_error(every_recognizer: Make, audio: Pcm16):
    async with every_recognizer() as subject:
        session = subject.recognizer.open()
        session.feed(audio)
        transcript = await session.final()
        session.close()
        if subject.vendor:
            # Models elsewhere are paid for, and make words up from silence.
            assert not subject.vendor.http.requests
        if not isinstance(subject.recognizer, ScriptedRecognizer):
            assert transcript.is_empty


async def test_five_minutes_are_taken_and_no_more(quick_recognizer: Make):
    async with quick_recognizer() as subject:
        session = subject.recognizer.open()
        for _ in range(6):
            session.feed(tone(60))
        transcript = await session.final()
        session.close()
        assert transcript.verbatim
        if subject.vendor:
            assert subject.vendor.heard_s == [subject.recognizer.capabilities.max_audio_s]


# --- transcripts ------------------------------------------------------------------------------


async def test_a_transcript_keeps_what_was_said_and_times_its_words(every_recognizer: Make):
    async with every_recognizer() as subject:
        session = subject.recognizer.open()
        session.feed(tone(1.0))
        session.feed(tone(0.6))
        transcript = await session.final()
        session.close()
        if subject.hears:
            assert transcript.verbatim == subject.hears
            assert not transcript.clean.startswith("Um")
            assert transcript.audio_ms == 1600
        starts = [word.start_ms for word in transcript.words]
        assert starts == sorted(starts)
        assert all(0 <= word.start_ms <= word.end_ms <= 1700 for word in transcript.words)
        assert " ".join(word.text for word in transcript.words) == transcript.verbatim
        if subject.recognizer.capabilities.word_timing is WordTiming.ALIGNED and subject.vendor:
            assert starts[:3] == [0, 100, 200]


async def test_a_partial_is_words_or_nothing(every_recognizer: Make):
    async with every_recognizer() as subject:
        session = subject.recognizer.open()
        session.feed(tone(1.0))
        partial = await session.partial()
        session.close()
        if not subject.recognizer.capabilities.partials:
            assert partial is None


async def test_after_more_audio_everything_is_recognised_again(every_recognizer: Make):
    async with every_recognizer() as subject:
        session = subject.recognizer.open()
        session.feed(tone(0.5))
        first = await session.final()
        again = await session.final()
        session.feed(tone(0.5))
        longer = await session.final()
        session.close()
        assert first.verbatim == again.verbatim
        assert longer.audio_ms > first.audio_ms
        if subject.vendor:
            # What was heard already is not paid for twice.
            assert subject.vendor.heard_s == [0.5, 1.0]


# --- stopping ---------------------------------------------------------------------------------


async def test_recognition_can_be_cancelled_and_asked_again(every_recognizer: Make):
    async with every_recognizer() as subject:
        if subject.vendor:
            subject.vendor.fault = Broken(Break.SILENT)
        session = subject.recognizer.open()
        session.feed(tone(0.5))
        working = asyncio.create_task(session.final())
        await asyncio.sleep(0)
        if subject.vendor:
            await subject.vendor.http.until_asked(1)
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
        if subject.vendor:
            await subject.vendor.http.until_connected(0)
            subject.vendor.fault = None
        transcript = await session.final()
        assert transcript.verbatim == subject.hears or not subject.hears
        session.close()
        session.close()


# --- providers elsewhere: what goes wrong on the way ---------------------------------------------


async def failure(subject: Subject) -> ProviderError:
    session = subject.recognizer.open()
    session.feed(tone(0.5))
    with pytest.raises(ProviderError) as caught:
        await session.final()
    session.close()
    assert "SECRET-PROMPT" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize(
    ("refusal", "kind", "retryable"),
    [
        (Refusal(401), ProviderRefusedError, False),
        (Refusal(403), ProviderRefusedError, False),
        (Refusal(404), ProviderRefusedError, False),
        (Refusal(429), ProviderBusyError, True),
        (Refusal(429, "insufficient_quota"), ProviderRefusedError, False),
        (Refusal(500), ProviderError, True),
        (Refusal(503), ProviderError, True),
        (Refusal(400), ProviderError, False),
    ],
)
async def test_a_refusal_is_told_by_its_kind(
    remote_recognizer: Make, refusal: Refusal, kind: type[ProviderError], retryable: bool
):
    async with remote_recognizer() as subject:
        subject.vendor.fault = refusal
        error = await failure(subject)
        assert isinstance(error, kind)
        assert error.retryable is retryable
        assert error.elsewhere
        assert len(subject.vendor.http.requests) == 1


@pytest.mark.parametrize("how", [Break.SILENT, Break.STALLS])
async def test_silence_ends_at_its_time_limit(remote_recognizer: Make, how: Break):
    async with remote_recognizer(first_timeout_s=0.3) as subject:
        subject.vendor.fault = Broken(how, after=1)
        assert isinstance(await failure(subject), ProviderTimeoutError)
        await subject.vendor.http.until_connected(0)


@pytest.mark.parametrize("how", [Break.CUT, Break.ENDS_EARLY, Break.GARBAGE, Break.WRONG_FORM])
async def test_an_answer_that_breaks_is_an_error_and_never_a_short_transcript(
    remote_recognizer: Make, how: Break
):
    async with remote_recognizer() as subject:
        subject.vendor.fault = Broken(how, after=1)
        error = await failure(subject)
        assert error.retryable


async def test_nobody_there_is_told_at_once(remote_recognizer: Make):
    async with remote_recognizer(base_url="http://127.0.0.1:1/v1") as subject:
        assert "connection" in str(await failure(subject))
