"""What every recognizer promises to its callers, whoever made it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest
from pydantic import SecretStr

from parley_cli.audio.files import read_recording
from parley_models import ModelsError, ModelStore, default_models_dir
from services.ai.adapters import google_speech, openai_transcription, riva_speech
from services.ai.adapters.registry import RECOGNIZERS, VOICE_ACTIVITY, LocalRuntime
from services.ai.adapters.scripted import ScriptedRecognizer
from services.ai.capabilities import (
    LEARNER_RATE_HZ,
    Pcm16,
    ProviderBusyError,
    ProviderError,
    ProviderRefusedError,
    ProviderTimeoutError,
    Recognizer,
    WordTiming,
)
from services.ai.compute import ComputePool
from services.ai.engine_file import GoogleSpeech, OpenAiTranscription, RivaRecognition
from services.ai.script import Script
from services.ai.transcripts import bare
from tests.contract.vendors import google_server as google_vendor
from tests.contract.vendors import riva_server as riva_vendor
from tests.contract.vendors.faults import Break, Broken, Refusal
from tests.contract.vendors.openai_server import KEY, MODEL, openai_server

SPEECH = Path(__file__).parents[2] / "data" / "speech"
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


@asynccontextmanager
async def google(**settings: object) -> AsyncIterator[Subject]:
    async with google_vendor.google_server() as vendor:
        vendor.reply = HEARD
        part = GoogleSpeech.model_validate(
            {"adapter": "google", "base_url": vendor.base_url, "project": google_vendor.PROJECT}
            | settings
        )
        recognizer = google_speech.recognizer("the-ear", part, SecretStr(google_vendor.KEY))
        try:
            yield Subject(recognizer, vendor, HEARD)
        finally:
            await recognizer.aclose()
        await vendor.until_connected(0)


@asynccontextmanager
async def google_without_times(**settings: object) -> AsyncIterator[Subject]:
    async with google(word_times=False, vocabulary=["Zoë"], **settings) as made:
        yield made


@asynccontextmanager
async def riva(**settings: object) -> AsyncIterator[Subject]:
    async with riva_vendor.riva_server() as vendor:
        vendor.reply = HEARD
        part = RivaRecognition.model_validate(
            {"adapter": "riva", "base_url": vendor.base_url, "vocabulary": ["Zoë"], **settings}
        )
        recognizer = riva_speech.recognizer("the-ear", part, SecretStr(riva_vendor.KEY))
        try:
            yield Subject(recognizer, vendor, HEARD)
        finally:
            await recognizer.aclose()
        await vendor.until_connected(0)


STREAMED: dict[str, Make] = {
    "google": google, "google, no word times": google_without_times, "riva": riva
}  # fmt: skip
REMOTE: dict[str, Make] = {
    "openai": openai_compatible, "openai, word times": whisper, **STREAMED
}  # fmt: skip


@pytest.fixture(scope="module")
def pool() -> Iterator[ComputePool]:
    pool = ComputePool(1, 8)
    asyncio.run(pool.run(int))  # its thread is the module's, not a test's
    yield pool
    pool.close()


@pytest.fixture(scope="module")
def local_recognizers(pool: ComputePool) -> Callable[[str], Recognizer]:
    """Return what makes a recognizer of this machine by its name here, each once."""
    store = ModelStore(default_models_dir())
    runtime = LocalRuntime(pool, sessions=1, context_tokens=1024, language_model_threads=1)

    @cache
    def make(name: str) -> Recognizer:
        model, _, closely = name.partition(", ")
        if not closely:
            return RECOGNIZERS[model](store.path(model), runtime)
        pauses = VOICE_ACTIVITY["silero-vad"](store.path("silero-vad"), runtime)
        careful = store.path("whisper-base-int8")
        return RECOGNIZERS[model](
            store.path(model), replace(runtime, careful=careful, pauses=pauses)
        )

    return make


LOCAL = ("moonshine-tiny-en", "moonshine-base-en-int8", "moonshine-tiny-en, closely")


@pytest.fixture(params=[pytest.param(name, marks=pytest.mark.models) for name in LOCAL])
def local_recognizer(
    request: pytest.FixtureRequest, local_recognizers: Callable[[str], Recognizer]
) -> Recognizer:
    """Those of this machine."""
    try:
        return local_recognizers(request.param)
    except ModelsError as error:
        pytest.skip(str(error))


@pytest.fixture(
    params=["scripted", *(pytest.param(name, marks=pytest.mark.models) for name in LOCAL), *REMOTE]
)
def every_recognizer(
    request: pytest.FixtureRequest, local_recognizers: Callable[[str], Recognizer]
) -> Make:
    @asynccontextmanager
    async def local() -> AsyncIterator[Subject]:
        try:
            yield Subject(local_recognizers(request.param))
        except ModelsError as error:
            pytest.skip(str(error))

    return local if request.param in LOCAL else {"scripted": scripted, **REMOTE}[request.param]


@pytest.fixture(params=["scripted", *REMOTE])
def quick_recognizer(request: pytest.FixtureRequest) -> Make:
    """Those that hear a tone as words: the local ones hear none in it."""
    return {"scripted": scripted, **REMOTE}[request.param]


@pytest.fixture(params=STREAMED)
def streamed_recognizer(request: pytest.FixtureRequest) -> Make:
    """Those that hear what is said while it is said."""
    return STREAMED[request.param]


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
            # What takes more hears all of it, and no stream is longer than Google's five minutes.
            most = min(360, subject.recognizer.capabilities.max_audio_s)
            assert sum(subject.vendor.heard_s) == most
            assert max(subject.vendor.heard_s) <= 300


@pytest.mark.timeout(240)
async def test_of_five_minutes_of_speech_every_sentence_is_heard_that_is_taken(
    local_recognizer: Recognizer,
):
    """No turn is longer than what is taken: the pipeline ends it there."""
    said = read_recording(SPEECH / "014070080.wav", LEARNER_RATE_HZ).samples
    sentence = np.concatenate([said, np.zeros(LEARNER_RATE_HZ, np.int16)])
    session = local_recognizer.open()
    for _ in range(360 * LEARNER_RATE_HZ // len(sentence)):
        session.feed(sentence)
    transcript = await session.final()
    session.close()
    taken_s = local_recognizer.capabilities.max_audio_s
    friendly = [word for word in transcript.words if bare(word.text) == "friendly"]
    times = int(taken_s * LEARNER_RATE_HZ // len(sentence))
    assert times - 2 <= len(friendly) <= times + 1
    assert friendly[-1].end_ms > 1000 * taken_s - 10_000
    assert transcript.audio_ms == 1000 * taken_s


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


async def test_captions_grow_while_somebody_speaks(streamed_recognizer: Make):
    async with streamed_recognizer() as subject:
        session = subject.recognizer.open()
        seen: list[str] = []
        async with asyncio.timeout(30):
            while not seen or seen[-1] != HEARD:
                session.feed(tone(0.2))
                # Its words come when they come: on a busy machine all of them at once, if what is
                # said next does not wait for them.
                for _ in range(100):
                    await asyncio.sleep(0.01)
                    caption = await session.partial()
                    if caption and caption not in seen:
                        seen.append(caption)
                        break
        final = await session.final()
        session.close()
        assert all(HEARD.startswith(caption) for caption in seen)
        assert len(seen) > 1
        assert final.verbatim == HEARD
        # One stream heard it all, as it was said.
        assert len(subject.vendor.heard_s) == 1


async def test_a_stream_that_is_lost_while_somebody_speaks_is_replaced(streamed_recognizer: Make):
    async with streamed_recognizer() as subject:
        session = subject.recognizer.open()
        session.feed(tone(0.5))
        subject.vendor.fault = Refusal(503)
        await session.partial()
        await subject.vendor.until_asked(1)
        await subject.vendor.until_connected(0)
        subject.vendor.fault = None
        session.feed(tone(0.5))
        transcript = await session.final()
        session.close()
        assert transcript.verbatim == HEARD
        assert subject.vendor.heard_s[-1] == 1.0


async def test_after_a_pause_a_long_utterance_is_not_heard_from_its_beginning(
    streamed_recognizer: Make,
):
    async with streamed_recognizer() as subject:
        session = subject.recognizer.open()
        session.feed(tone(20))
        first = await session.final()
        session.feed(tone(2))
        second = await session.final()
        session.close()
        assert subject.vendor.heard_s == [20.0, 2.0]
        assert second.verbatim == f"{HEARD} {HEARD}"
        assert first.audio_ms == 20_000
        later = [word.start_ms for word in second.words[len(first.words) :]]
        assert all(20_000 <= start <= 22_000 for start in later)


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


async def test_nobody_sends_speech_and_key_elsewhere():
    async with openai_compatible() as subject:
        subject.vendor.fault = Refusal(307, headers={"location": subject.vendor.base_url})
        assert "base_url" in str(await failure(subject))
        assert len(subject.vendor.http.requests) == 1


async def test_nobody_there_is_told_at_once(remote_recognizer: Make):
    async with remote_recognizer(base_url="http://127.0.0.1:1/v1") as subject:
        assert "connection" in str(await failure(subject))


@pytest.mark.parametrize("make", [openai_compatible, whisper])
async def test_a_recording_that_a_new_connection_carried_is_not_sent_twice(make: Make):
    async with make() as subject:
        subject.vendor.http.cut_next = True
        error = await failure(subject)
        assert error.retryable
        assert len(subject.vendor.http.requests) == 1


async def test_no_log_has_what_was_said_or_the_key(
    remote_recognizer: Make, caplog: pytest.LogCaptureFixture
):
    with caplog.at_level(logging.DEBUG):
        async with remote_recognizer() as subject:
            session = subject.recognizer.open()
            session.feed(tone(0.5))
            assert (await session.final()).verbatim == HEARD
            session.close()
            subject.vendor.fault = Refusal(500)
            await failure(subject)
    for secret in ("SECRET-PROMPT", "yesterday", KEY, google_vendor.KEY, riva_vendor.KEY):
        assert secret not in caplog.text
