"""What every synthesizer promises to its callers, whoever made it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from edge_tts import communicate
from pydantic import SecretStr

from services.ai.adapters import google_tts, openai_speech, riva_speech
from services.ai.adapters.edge_speech import EdgeSynthesizer
from services.ai.adapters.hibari import HibariSynthesizer
from services.ai.adapters.scripted import ScriptedSynthesizer
from services.ai.capabilities import (
    ProviderBusyError,
    ProviderError,
    ProviderRefusedError,
    ProviderTimeoutError,
    SpeechChunk,
    Synthesizer,
    WordTiming,
)
from services.ai.compute import ComputePool
from services.ai.engine_file import EdgeSpeech, GoogleTts, OpenAiSpeech, RivaSpeech
from services.ai.script import Script
from services.ai.streams import closable
from tests.contract.vendors import edge_server as edge_vendor
from tests.contract.vendors import google_server as google_vendor
from tests.contract.vendors import riva_server as riva_vendor
from tests.contract.vendors.certificates import certificate
from tests.contract.vendors.faults import Break, Broken, Refusal
from tests.contract.vendors.openai_server import KEY, MODEL, SPEECH_S, openai_server

TEXT = "Nice to meet you, Zoë! What do you like?"


@dataclass(slots=True)
class Subject:
    """A synthesizer under test. ``vendor`` is the stand-in it is connected to, if any."""

    synthesizer: Synthesizer
    vendor: Any = None
    connected: Any = None
    speaks_s: float = 0.0


Make: TypeAlias = Callable[..., AbstractAsyncContextManager[Subject]]


@asynccontextmanager
async def scripted() -> AsyncIterator[Subject]:
    yield Subject(ScriptedSynthesizer(Script()))


@asynccontextmanager
async def openai_compatible(**settings: object) -> AsyncIterator[Subject]:
    async with openai_server() as vendor:
        part = OpenAiSpeech.model_validate(
            {"adapter": "openai", "base_url": vendor.base_url, "model": MODEL, **settings}
        )
        synthesizer = openai_speech.synthesizer("the-voice", part, SecretStr(KEY))
        try:
            yield Subject(synthesizer, vendor, vendor.http.until_connected, SPEECH_S)
        finally:
            await synthesizer.aclose()
        await vendor.http.until_connected(0)


@asynccontextmanager
async def google(**settings: object) -> AsyncIterator[Subject]:
    async with google_vendor.google_server() as vendor:
        part = GoogleTts.model_validate(
            {"adapter": "google", "base_url": vendor.base_url, **settings}
        )
        synthesizer = google_tts.synthesizer("the-voice", part, SecretStr(google_vendor.KEY))
        try:
            yield Subject(synthesizer, vendor, vendor.until_connected, SPEECH_S)
        finally:
            await synthesizer.aclose()
        await vendor.until_connected(0)


@asynccontextmanager
async def riva(**settings: object) -> AsyncIterator[Subject]:
    async with riva_vendor.riva_server() as vendor:
        part = RivaSpeech.model_validate(
            {"adapter": "riva", "base_url": vendor.base_url, **settings}
        )
        synthesizer = riva_speech.synthesizer("the-voice", part, SecretStr(riva_vendor.KEY))
        try:
            yield Subject(synthesizer, vendor, vendor.until_connected, SPEECH_S)
        finally:
            await synthesizer.aclose()
        await vendor.until_connected(0)


REMOTE: dict[str, Make] = {"openai": openai_compatible, "google": google, "riva": riva}


@pytest.fixture(scope="module")
def edge_certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for Edge's name, which the client trusts from now on."""
    pem = certificate(tmp_path_factory.mktemp("edge"), edge_vendor.NAME)
    communicate._SSL_CTX.load_verify_locations(pem)
    return pem


@pytest.fixture(scope="module")
def hibari() -> Iterator[Synthesizer]:
    pool = ComputePool(1, 8)
    asyncio.run(pool.run(int))  # its thread is the module's, not a test's
    yield HibariSynthesizer(pool)
    pool.close()


@pytest.fixture
def edge(edge_certificate: Path) -> Make:
    @asynccontextmanager
    async def make(**settings: object) -> AsyncIterator[Subject]:
        async with edge_vendor.edge_server(edge_certificate) as vendor:
            part = EdgeSpeech.model_validate({"adapter": "edge", **settings})
            synthesizer = EdgeSynthesizer("the-voice", part, vendor.connector)
            yield Subject(synthesizer, vendor, vendor.until_connected, edge_vendor.SPEECH_S)
            await vendor.until_connected(0)

    return make


@pytest.fixture(params=["scripted", "local", "edge", *REMOTE])
def every_synthesizer(request: pytest.FixtureRequest, hibari: Synthesizer, edge: Make) -> Make:
    @asynccontextmanager
    async def local() -> AsyncIterator[Subject]:
        yield Subject(hibari)

    makers: dict[str, Make] = {"scripted": scripted, "local": local, "edge": edge, **REMOTE}
    return makers[request.param]


@pytest.fixture(params=["edge", *REMOTE])
def remote_synthesizer(request: pytest.FixtureRequest, edge: Make) -> Make:
    return {"edge": edge, **REMOTE}[request.param]


async def spoken(
    synthesizer: Synthesizer, text: str = TEXT, voice: str = "", speed: float = 1.0
) -> list[SpeechChunk]:
    return [chunk async for chunk in synthesizer.stream(text, voice, speed)]


def seconds(chunks: list[SpeechChunk], synthesizer: Synthesizer) -> float:
    rate_hz = synthesizer.capabilities.sample_rate_hz
    return sum(len(chunk.pcm) for chunk in chunks) / 2 / rate_hz


# --- bad input --------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", "  ", "…", "!?"])
async def test_nothing_to_say_is_no_error_and_asks_nobody(every_synthesizer: Make, text: str):
    async with every_synthesizer() as subject:
        chunks = await spoken(subject.synthesizer, text)
        if subject.vendor:
            assert not chunks


async def test_a_voice_of_nobody_is_refused(every_synthesizer: Make):
    async with every_synthesizer() as subject:
        with pytest.raises(ProviderError, match="nosuch") as caught:
            await spoken(subject.synthesizer, voice="nosuch")
        assert not caught.value.elsewhere


# --- speech -----------------------------------------------------------------------------------


async def test_speech_is_whole_samples_of_the_rate_that_is_promised(every_synthesizer: Make):
    async with every_synthesizer() as subject:
        chunks = await spoken(subject.synthesizer)
        assert all(len(chunk.pcm) % 2 == 0 for chunk in chunks)
        assert seconds(chunks, subject.synthesizer) > 0.5
        if subject.speaks_s:
            # An MP3 decoder adds up to two frames of 24 ms around what was encoded.
            assert seconds(chunks, subject.synthesizer) == pytest.approx(subject.speaks_s, abs=0.08)


async def test_words_stand_where_they_are_said(every_synthesizer: Make):
    async with every_synthesizer() as subject:
        rate_hz = subject.synthesizer.capabilities.sample_rate_hz
        timed, begin_ms = [], 0.0
        for chunk in await spoken(subject.synthesizer):
            timed += [(word.text, begin_ms + word.start_ms) for word in chunk.words]
            begin_ms += 1000 * len(chunk.pcm) / 2 / rate_hz
        if subject.synthesizer.capabilities.word_timing is WordTiming.NONE:
            assert not timed
            return
        assert [text.strip(".,!?") for text, _ in timed] == [
            word.strip(".,!?") for word in TEXT.split()
        ]
        starts = [start for _, start in timed]
        assert starts == sorted(starts)
        assert starts[-1] < begin_ms
        if isinstance(subject.vendor, edge_vendor.EdgeServer):
            step = 1000 * edge_vendor.SPEECH_S / len(timed)
            assert starts == pytest.approx([step * i for i in range(len(timed))], abs=2)


async def test_every_voice_speaks_and_the_speed_is_passed_on(remote_synthesizer: Make):
    async with remote_synthesizer() as subject:
        voice = subject.synthesizer.capabilities.voices[-1].id
        assert await spoken(subject.synthesizer, voice=voice, speed=1.5)
        if isinstance(subject.vendor, edge_vendor.EdgeServer):
            # The client writes the name out: "… Voice (en-AU, NatashaNeural)".
            assert voice.removeprefix("en-AU-") in subject.vendor.asked[-1]
            assert "rate='+50%'" in subject.vendor.asked[-1]
        elif isinstance(subject.vendor, google_vendor.GoogleServer):
            config = subject.vendor.requests[-1].streaming_config
            assert config.voice.name == voice
            assert config.streaming_audio_config.speaking_rate == 1.5
        elif isinstance(subject.vendor, riva_vendor.RivaServer):
            asked = subject.vendor.requests[-1]
            assert asked.voice_name == voice
            assert asked.text.startswith('<speak><prosody rate="150%">Nice to meet you, Zoë')
        else:
            asked = subject.vendor.http.requests[-1].json()
            assert (asked["voice"], asked["speed"]) == (voice, 1.5)


# --- stopping ---------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["closed", "cancelled"])
async def test_speech_that_nobody_hears_any_more_stops_at_once(every_synthesizer: Make, how: str):
    async with every_synthesizer() as subject:
        if subject.vendor:
            subject.vendor.fault = Broken(Break.STALLS, after=6)
        if how == "closed":
            stream = subject.synthesizer.stream(TEXT, "", 1.0)
            async with aclosing(closable(stream)) as chunks:
                async for _ in chunks:
                    break
        else:
            begun = asyncio.Event()

            async def hear() -> None:
                async for _ in subject.synthesizer.stream(TEXT, "", 1.0):
                    begun.set()
                    await asyncio.Event().wait()

            hearing = asyncio.create_task(hear())
            await begun.wait()
            hearing.cancel()
            with pytest.raises(asyncio.CancelledError):
                await hearing
        if subject.connected:
            await subject.connected(0)
            subject.vendor.fault = None
        assert await spoken(subject.synthesizer)


async def test_speech_that_has_not_begun_can_be_cancelled(remote_synthesizer: Make):
    async with remote_synthesizer() as subject:
        subject.vendor.fault = Broken(Break.SILENT)
        speaking = asyncio.create_task(spoken(subject.synthesizer))
        await subject.connected(1)
        speaking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await speaking
        await subject.connected(0)


# --- providers elsewhere: what goes wrong on the way ---------------------------------------------


async def failure(subject: Subject) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        await spoken(subject.synthesizer)
    assert "SECRET-PROMPT" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize(
    ("refusal", "kind", "retryable"),
    [
        (Refusal(401), ProviderRefusedError, False),
        (Refusal(403), ProviderRefusedError, False),
        (Refusal(404), ProviderRefusedError, False),
        (Refusal(429, headers={"retry-after": "7"}), ProviderBusyError, True),
        (Refusal(500), ProviderError, True),
        (Refusal(503), ProviderError, True),
        (Refusal(400), ProviderError, False),
    ],
)
async def test_a_refusal_is_told_by_its_kind(
    remote_synthesizer: Make, refusal: Refusal, kind: type[ProviderError], retryable: bool
):
    async with remote_synthesizer() as subject:
        subject.vendor.fault = refusal
        error = await failure(subject)
        assert isinstance(error, kind)
        assert error.retryable is retryable
        assert error.elsewhere
        if isinstance(error, ProviderBusyError):
            assert error.retry_after_s == 7.0


@pytest.mark.parametrize("fault", [Broken(Break.SILENT), Broken(Break.STALLS, after=3)])
async def test_silence_ends_at_its_time_limit(remote_synthesizer: Make, fault: Broken):
    async with remote_synthesizer(first_timeout_s=0.5, next_timeout_s=0.5) as subject:
        subject.vendor.fault = fault
        assert isinstance(await failure(subject), ProviderTimeoutError)
        await subject.connected(0)


@pytest.mark.parametrize(
    "fault",
    [
        Broken(Break.CUT),
        Broken(Break.CUT, after=4),
        Broken(Break.ENDS_EARLY),
        Broken(Break.GARBAGE, after=1),
        Broken(Break.WRONG_FORM, after=1),
    ],
)
async def test_speech_that_breaks_is_an_error_and_never_a_noise(
    remote_synthesizer: Make, fault: Broken
):
    async with remote_synthesizer() as subject:
        subject.vendor.fault = fault
        error = await failure(subject)
        assert error.elsewhere
        subject.vendor.fault = None
        assert await spoken(subject.synthesizer)


async def test_edges_voice_that_ends_in_the_middle_is_not_taken_for_whole(edge: Make):
    async with edge() as subject:
        subject.vendor.fault = Broken(Break.ENDS_EARLY, after=5)
        assert "broke off" in str(await failure(subject))


async def test_a_wrong_clock_costs_edge_a_second_request_and_no_words(edge: Make):
    async with edge() as subject:
        subject.vendor.refuse_once = True
        assert await spoken(subject.synthesizer)


async def test_a_voice_with_nobody_there_is_told_at_once():
    async with openai_compatible(base_url="http://127.0.0.1:1/v1") as subject:
        assert "connection" in str(await failure(subject))


async def test_a_text_that_a_new_connection_carried_is_not_sent_twice():
    async with openai_compatible() as subject:
        subject.vendor.http.cut_next = True
        error = await failure(subject)
        assert error.retryable
        assert len(subject.vendor.http.requests) == 1


async def test_nobody_sends_text_and_key_elsewhere():
    async with openai_compatible() as subject:
        subject.vendor.fault = Refusal(307, headers={"location": subject.vendor.base_url})
        assert "base_url" in str(await failure(subject))
        assert len(subject.vendor.http.requests) == 1


async def test_no_log_has_what_is_said_or_the_key(
    remote_synthesizer: Make, caplog: pytest.LogCaptureFixture
):
    # Edge's stand-in is no part of Parley.
    caplog.set_level(logging.WARNING, "websockets.server")
    with caplog.at_level(logging.DEBUG):
        async with remote_synthesizer() as subject:
            assert await spoken(subject.synthesizer)
            subject.vendor.fault = Refusal(500)
            await failure(subject)
    for secret in ("SECRET-PROMPT", "meet you", KEY, google_vendor.KEY, riva_vendor.KEY):
        assert secret not in caplog.text
