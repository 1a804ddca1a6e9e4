"""Every adapter over a line that breaks, vanishes or crawls: an error of a kind, and in time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from services.ai.adapters import remote
from services.ai.capabilities import GenerationOptions, Message, ProviderError, Role
from services.ai.engine_file import EngineFile
from services.ai.speech_model import Briefing
from tests.contract.vendors import (
    anthropic_server,
    google_server,
    openai_server,
    realtime_server,
    riva_server,
)
from tests.fault.line import Line, line

LIMIT_S = 1.5
# What a busy machine may take beside its time limits.
GRACE_S = 10.0
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


async def connect(model: Any) -> str:
    link = await model.connect(Briefing("Be kind.", (), "", 1.0))
    await link.aclose()
    return "connected"


@dataclass(frozen=True, slots=True)
class Case:
    """An adapter: its table and settings in an engine file, its stand-in, and how it is used."""

    table: str
    settings: dict[str, Any]
    server: Callable[[], Any]
    key: str
    use: Callable[[Any], Awaitable[str]]


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
    "OpenAI Realtime": Case(
        "speech_models",
        {"adapter": "openai", "model": realtime_server.MODEL, "voices": realtime_server.VOICES},
        realtime_server.realtime_server,
        realtime_server.KEY,
        connect,
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


@asynccontextmanager
async def over_a_line(case: Case) -> AsyncIterator[tuple[Any, Line]]:
    """The adapter, connected to its stand-in by a line."""
    async with case.server() as vendor:
        own = getattr(vendor, "http", vendor).port
        async with line(own) as (cable, port):
            address = vendor.base_url.replace(str(own), str(port))
            settings = {**case.settings, **TIMES, "base_url": address, "api_key_env": "KEY"}
            file = EngineFile.model_validate({case.table: {"far": settings}})
            part = getattr(file, case.table)["far"]
            provider = _MAKERS[case.table]("far", part, {"KEY": case.key})
            try:
                yield provider, cable
            finally:
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
