"""Every adapter over a line that breaks, vanishes or crawls: an error of a kind, and in time."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock

import numpy as np
import pytest
from edge_tts import communicate

from services.ai.adapters import remote
from services.ai.adapters.edge_speech import EdgeSynthesizer
from services.ai.capabilities import GenerationOptions, Message, ProviderError, Role
from services.ai.engine import ReplyEndReason, TypedText
from services.ai.engine_file import EdgeSpeech, EngineFile
from services.ai.speech_model import (
    Ask,
    AskKind,
    Briefing,
    LearnerWords,
    ReplyDone,
    TutorAudio,
    TutorWords,
)
from services.ai.streams import closable
from tests.contract.ai import live_engines
from tests.contract.vendors import (
    anthropic_server,
    edge_server,
    gemini_live_server,
    google_server,
    openai_server,
    realtime_server,
    riva_server,
)
from tests.contract.vendors.certificates import certificate
from tests.fault.line import Line, line

LIMIT_S = 1.5
# What a busy machine may take beside its time limits.
GRACE_S = 10.0
# Hanging up takes a second where nobody answers; with what a busy machine may take beside it.
HANG_UP_S = 1.0 + 4.0
TIMES = {"connect_timeout_s": LIMIT_S, "first_timeout_s": LIMIT_S, "next_timeout_s": LIMIT_S}
TONE = (8000 * np.sin(np.arange(8000) / 5)).astype(np.int16)
"""Half a second."""


async def write(model: Any) -> str:
    session = model.open()
    try:
        asked = [Message(Role.USER, "Hi")]
        return "".join([piece async for piece in session.stream(asked, GenerationOptions())])
    finally:
        session.close()


async def hear(recognizer: Any) -> str:
    session = recognizer.open()
    try:
        session.feed(TONE)
        return (await session.final()).verbatim
    finally:
        session.close()


async def speak(synthesizer: Any) -> str:
    chunks = [chunk async for chunk in synthesizer.stream("Nice to meet you!", "", 1.0)]
    return "spoken" if chunks else ""


async def converse(model: Any) -> str:
    """Say something, and hear the whole reply."""
    link = await model.connect(Briefing("Be kind.", (), "", 1.0))
    heard, said, sound = "", "", b""
    try:
        await link.hear(TONE)
        await link.reply(Ask(1, AskKind.UTTERANCE))
        async with aclosing(closable(link.events())) as events:
            async for event in events:
                match event:
                    case LearnerWords(text):
                        heard = text
                    case TutorWords(text):
                        said += text
                    case TutorAudio(pcm):
                        sound += pcm
                    case ReplyDone():
                        break
    finally:
        await link.aclose()
    assert heard
    assert sound
    return said


@asynccontextmanager
async def edge() -> AsyncIterator[edge_server.EdgeServer]:
    """Edge's stand-in, whose certificate the client trusts meanwhile."""
    with TemporaryDirectory() as folder:
        pem = certificate(Path(folder), edge_server.NAME)
        trusting = ssl.create_default_context(cafile=str(pem))
        with mock.patch.object(communicate, "_SSL_CTX", trusting):
            async with edge_server.edge_server(pem) as vendor:
                yield vendor


def made(case: Case, vendor: Any, port: int) -> Any:
    """The adapter, with ``port`` in the place of its stand-in's."""
    address = vendor.base_url.replace(str(port_of(vendor)), str(port))
    settings = {**TIMES, **case.settings, "base_url": address, "api_key_env": "KEY"}
    file = EngineFile.model_validate({case.table: {"far": settings}})
    part = getattr(file, case.table)["far"]
    # Google's client alone wants TLS here.
    trusted = {"SSL_CERT_FILE": str(vendor.pem)} if hasattr(vendor, "pem") else {}
    with mock.patch.dict(os.environ, trusted):
        return _MAKERS[case.table]("far", part, {"KEY": case.key})


def made_edge(case: Case, vendor: edge_server.EdgeServer, port: int) -> EdgeSynthesizer:
    """The same, of an adapter that finds its service by its name alone."""
    part = EdgeSpeech.model_validate({**case.settings, **TIMES})
    return EdgeSynthesizer("far", part, lambda: edge_server.connector(port))


@dataclass(frozen=True, slots=True)
class Case:
    """An adapter: its table and settings in an engine file, its stand-in, and how it is used."""

    table: str
    settings: dict[str, Any]
    server: Callable[[], Any]
    key: str
    use: Callable[[Any], Awaitable[str]]
    make: Callable[[Case, Any, int], Any] = made


OPENAI = {"adapter": "openai", "model": openai_server.MODEL}
CASES = {
    "chat at OpenAI": Case(
        "language_models", OPENAI, openai_server.openai_server, openai_server.KEY, write
    ),
    "chat at Anthropic": Case(
        "language_models",
        {"adapter": "anthropic"},
        anthropic_server.anthropic_server,
        anthropic_server.KEY,
        write,
    ),
    "ears at OpenAI": Case(
        "recognizers", OPENAI, openai_server.openai_server, openai_server.KEY, hear
    ),
    "ears at Google": Case(
        "recognizers",
        {"adapter": "google", "project": google_server.PROJECT},
        google_server.google_server,
        google_server.KEY,
        hear,
    ),
    "ears of Riva": Case(
        "recognizers", {"adapter": "riva"}, riva_server.riva_server, riva_server.KEY, hear
    ),
    "voice at OpenAI": Case(
        "synthesizers", OPENAI, openai_server.openai_server, openai_server.KEY, speak
    ),
    "voice at Google": Case(
        "synthesizers",
        {"adapter": "google"},
        google_server.google_server,
        google_server.KEY,
        speak,
    ),
    "voice of Riva": Case(
        "synthesizers", {"adapter": "riva"}, riva_server.riva_server, riva_server.KEY, speak
    ),
    "voice of Edge": Case("synthesizers", {"adapter": "edge"}, edge, "", speak, made_edge),
    "OpenAI Realtime": Case(
        "speech_models",
        {"adapter": "openai", "model": realtime_server.MODEL, "voices": realtime_server.VOICES},
        realtime_server.realtime_server,
        realtime_server.KEY,
        converse,
    ),
    "Gemini Live": Case(
        "speech_models",
        {
            "adapter": "gemini",
            "model": gemini_live_server.MODEL,
            "voices": gemini_live_server.VOICES,
        },
        gemini_live_server.gemini_live_server,
        gemini_live_server.KEY,
        converse,
    ),
}
_MAKERS: dict[str, Callable[..., Any]] = {
    "language_models": remote.language_model,
    "recognizers": remote.recognizer,
    "synthesizers": remote.synthesizer,
    "speech_models": remote.speech_model,
}


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]


def port_of(vendor: Any) -> int:
    port: int = getattr(vendor, "http", vendor).port
    return port


@asynccontextmanager
async def over_a_line(case: Case) -> AsyncIterator[tuple[Any, Line]]:
    """The adapter, connected to its stand-in by a line."""
    async with case.server() as vendor:
        async with line(port_of(vendor)) as (cable, port):
            provider = case.make(case, vendor, port)
            try:
                yield provider, cable
            finally:
                if hasattr(provider, "aclose"):
                    await provider.aclose()
        counted = getattr(vendor, "http", vendor)
        await counted.until_connected(0)


async def test_a_line_that_is_down_is_an_error_at_once_and_forgotten_when_it_is_up(case: Case):
    async with over_a_line(case) as (provider, cable), asyncio.timeout(GRACE_S):
        assert await case.use(provider)
        cable.down()
        with pytest.raises(ProviderError) as caught:
            await case.use(provider)
        assert caught.value.retryable
        cable.mend()
        while True:
            try:
                assert await case.use(provider)
                break
            except ProviderError:
                # gRPC waits a moment before it connects again.
                await asyncio.sleep(0.05)


async def test_a_line_on_which_nothing_passes_ends_at_the_time_limit(case: Case):
    async with over_a_line(case) as (provider, cable), asyncio.timeout(GRACE_S):
        assert await case.use(provider)
        cable.vanish()
        with pytest.raises(ProviderError) as caught:
            await case.use(provider)
        assert caught.value.retryable
        cable.mend()


async def test_a_line_that_is_slow_within_the_limits_changes_nothing(case: Case):
    async with over_a_line(case) as (provider, cable), asyncio.timeout(GRACE_S):
        cable.latency_s = 0.03
        assert await case.use(provider)


@pytest.mark.parametrize("name", ["OpenAI Realtime", "Gemini Live"])
async def test_a_line_that_goes_dead_in_a_talk_costs_no_more_than_the_limit_and_hanging_up(
    name: str,
):
    case = CASES[name]
    settings = {**case.settings, "connect_timeout_s": GRACE_S, "first_timeout_s": 2 * LIMIT_S}
    case = replace(case, settings=settings)
    async with (
        over_a_line(case) as (first, cable),
        live_engines.realtime(connect_timeout_s=GRACE_S) as second,
    ):
        assert second.model is not None
        engine = live_engines.chain((first, "far"), (second.model, second.name))
        async with live_engines.talk(engine) as t:
            t.session.handle(TypedText("Hello"))
            await t.reply()
            assert second.vendor.opened == 0
            cable.vanish()
            began = asyncio.get_running_loop().time()
            t.session.handle(TypedText("Are you there?"))
            ended = await t.reply(2)
            took_s = asyncio.get_running_loop().time() - began
            cable.mend()
    assert ended.reason is ReplyEndReason.COMPLETED
    assert second.vendor.opened == 1
    assert 2 * LIMIT_S - 0.1 <= took_s < 2 * LIMIT_S + HANG_UP_S


@pytest.mark.parametrize("name", ["OpenAI Realtime", "Gemini Live"])
async def test_hanging_up_on_a_dead_line_takes_no_longer_than_a_second(name: str):
    async with over_a_line(CASES[name]) as (model, cable):
        link = await model.connect(Briefing("Be kind.", (), "", 1.0))
        cable.vanish()
        began = asyncio.get_running_loop().time()
        await link.aclose()
        assert asyncio.get_running_loop().time() - began < HANG_UP_S
        cable.mend()
