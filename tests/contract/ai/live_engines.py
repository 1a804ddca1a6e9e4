"""Engines that the same tests of a live session are run over: a pipeline, and each multimodal one.

Nothing that an engine waits for is real, so tests wait for what it says and never for time.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias
from unittest import mock

import numpy as np
from pydantic import SecretStr

from services.ai.adapters import gemini_live, openai_realtime
from services.ai.adapters.scripted import (
    ScriptedLanguageModel,
    ScriptedRecognizer,
    ScriptedSynthesizer,
    ScriptedTurnDetector,
    ScriptedVad,
    ScriptedWriting,
)
from services.ai.compute import ComputePool
from services.ai.engine import (
    Audio,
    EndInput,
    Engine,
    EngineOutput,
    EngineSession,
    ReplyEnded,
    ReplyHeard,
    ReplyText,
    SessionConfig,
)
from services.ai.engine_file import GeminiLive, OpenAiRealtime
from services.ai.engines.multimodal import MultimodalEngine, MultimodalModels
from services.ai.engines.pipeline import PipelineEngine, PipelineModels
from services.ai.fallback import Named
from services.ai.script import Script
from services.ai.speech_model import SpeechModel
from tests.contract.vendors import gemini_live_server as gemini_vendor
from tests.contract.vendors import realtime_server as realtime_vendor

GRACE_S = 10.0
HEARD = "Hello, my name is Ana."
REPLY = "Nice to meet you! What do you like?"
LOUD = (np.sin(np.arange(3200) / 5) * 8000).astype("<i2").tobytes()
QUIET = bytes(len(LOUD))
MESSAGE_MS = 200


@dataclass(slots=True)
class Subject:
    """An engine under test; ``model`` and ``vendor`` are a multimodal one's."""

    name: str
    engine: Engine
    model: SpeechModel | None = None
    vendor: Any = None
    watched: Watched | None = None

    @property
    def prompt(self) -> list[tuple[str, str]]:
        """What the model knew of the conversation when it was last asked, its rules apart."""
        if self.watched is not None:
            messages = self.watched.sessions[-1].prompts[-1]
            return [(message.role.value, message.text) for message in messages[1:]]
        remembers: list[tuple[str, str]] = self.vendor.remembers
        return remembers[:-1] if remembers[-1][0] == "assistant" else remembers

    @property
    def rules(self) -> str:
        """The instructions that the model last had."""
        if self.watched is not None:
            return self.watched.sessions[-1].prompts[-1][0].text
        return str(self.vendor.rules)


class Watched(ScriptedLanguageModel):
    """A scripted model whose sessions the test can look at."""

    def __init__(self, script: Script) -> None:
        super().__init__(script)
        self.sessions: list[ScriptedWriting] = []

    def open(self) -> ScriptedWriting:
        session = super().open()
        self.sessions.append(session)
        return session


@asynccontextmanager
async def pipeline(
    hears: tuple[str, ...] = (HEARD,), replies: tuple[str, ...] = (REPLY,), pace_s: float = 0.0
) -> AsyncIterator[Subject]:
    """The real pipeline over scripted models."""
    script = Script.model_validate(
        {
            "turn_detector": {"score": 0.9},
            "recognizer": {"texts": hears},
            "language_model": {"replies": replies, "token_ms": int(1000 * pace_s)},
        }
    )
    pool = ComputePool(1, 4)
    watched = Watched(script)
    models = PipelineModels(
        voice_activity=ScriptedVad(),
        turn_detector=ScriptedTurnDetector(script),
        recognizer=ScriptedRecognizer(script),
        language_model=watched,
        synthesizer=ScriptedSynthesizer(script),
        pool=pool,
    )
    try:
        yield Subject("pipeline", PipelineEngine("test", "Test", models), watched=watched)
    finally:
        pool.close()


@asynccontextmanager
async def realtime(
    hears: tuple[str, ...] = (HEARD,),
    replies: tuple[str, ...] = (REPLY,),
    pace_s: float = 0.0,
    **settings: object,
) -> AsyncIterator[Subject]:
    """The official client of OpenAI against a stand-in."""
    async with realtime_vendor.realtime_server() as vendor:
        vendor.hears, vendor.replies, vendor.pace_s = list(hears), list(replies), pace_s
        part = OpenAiRealtime.model_validate(
            {"adapter": "openai", "base_url": vendor.base_url, "model": realtime_vendor.MODEL}
            | {"voices": realtime_vendor.VOICES, **settings}
        )
        model = openai_realtime.speech_model("the-realtime", part, SecretStr(realtime_vendor.KEY))
        try:
            yield Subject("the-realtime", chain((model, "the-realtime")), model, vendor)
        finally:
            await model.aclose()
        await vendor.until_connected(0)


@asynccontextmanager
async def gemini(
    hears: tuple[str, ...] = (HEARD,),
    replies: tuple[str, ...] = (REPLY,),
    pace_s: float = 0.0,
    **settings: object,
) -> AsyncIterator[Subject]:
    """Google's official client against a stand-in."""
    async with gemini_vendor.gemini_live_server() as vendor:
        vendor.hears, vendor.replies, vendor.pace_s = list(hears), list(replies), pace_s
        part = GeminiLive.model_validate(
            {"adapter": "gemini", "base_url": vendor.base_url, "model": gemini_vendor.MODEL}
            | {"voices": gemini_vendor.VOICES, **settings}
        )
        with mock.patch.dict(os.environ, {"SSL_CERT_FILE": str(vendor.pem)}):
            model = gemini_live.speech_model("the-live", part, SecretStr(gemini_vendor.KEY))
        try:
            yield Subject("the-live", chain((model, "the-live")), model, vendor)
        finally:
            await model.aclose()
        await vendor.until_connected(0)


Make: TypeAlias = Callable[..., AbstractAsyncContextManager[Subject]]

MULTIMODAL: dict[str, Make] = {"realtime": realtime, "gemini": gemini}
ENGINES: dict[str, Make] = {"pipeline": pipeline, **MULTIMODAL}


def chain(*models: tuple[SpeechModel, str], score: float = 0.9) -> MultimodalEngine:
    """Return an engine of several models, the first choice first."""
    script = Script.model_validate({"turn_detector": {"score": score}})
    named = [Named(name, model) for model, name in models]
    made = MultimodalModels(ScriptedVad(), ScriptedTurnDetector(script), named, "the-detector")
    return MultimodalEngine("test", "Test", made)


@dataclass(slots=True)
class Talk:
    """One session and everything that it has said."""

    session: EngineSession
    said: list[EngineOutput] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    ended: bool = False

    async def read(self) -> None:
        """Keep what it says."""
        while (output := await self.session.output()) is not None:
            self.said.append(output)
            self.changed.set()
        self.ended = True
        self.changed.set()

    async def until(self, holds: Callable[[], object]) -> None:
        """Wait until ``holds``, which is looked at whenever something is said."""
        async with asyncio.timeout(GRACE_S):
            while not holds():
                assert not self.ended
                self.changed.clear()
                await self.changed.wait()

    async def until_said(self, kind: type, count: int = 1) -> Any:
        """Wait until so many outputs of ``kind`` have come; return the last."""
        await self.until(lambda: len(self.of(kind)) >= count)
        return self.of(kind)[count - 1]

    async def hear(self, sound: bytes, ms: int) -> None:
        """Give it so much of the microphone, as a microphone would: time passes between."""
        for _ in range(ms // MESSAGE_MS):
            self.session.handle(Audio(sound))
            for _ in range(5):
                await asyncio.sleep(0)

    async def turn(self) -> ReplyEnded:
        """Speak, be answered, and hear the answer to its end."""
        before = len(self.of(ReplyEnded))
        await self.utterance()
        ended = await self.reply(before + 1)
        self.session.handle(ReplyHeard(ended.generation))
        return ended

    async def utterance(self, ms: int = 1000) -> None:
        """Speak, and be silent for as long as ends the turn."""
        await self.hear(LOUD, ms)
        await self.hear(QUIET, 6000)

    def of(self, kind: type) -> list[Any]:
        """Return the outputs of ``kind``."""
        return [each for each in self.said if isinstance(each, kind)]

    def text(self, generation: int) -> str:
        """Return what was said in a reply."""
        return "".join(each.text for each in self.of(ReplyText) if each.generation == generation)

    async def reply(self, count: int = 1) -> ReplyEnded:
        """Wait for the end of so many replies; return the last."""
        ended: ReplyEnded = await self.until_said(ReplyEnded, count)
        return ended


@asynccontextmanager
async def talk(engine: Engine, **config: object) -> AsyncIterator[Talk]:
    """Open a session, and read it to its end."""
    session = engine.open(SessionConfig(**config))
    talk = Talk(session)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(session.run())
        tasks.create_task(talk.read())
        try:
            yield talk
        finally:
            session.handle(EndInput())
            async with asyncio.timeout(GRACE_S):
                await asyncio.wait({running})
