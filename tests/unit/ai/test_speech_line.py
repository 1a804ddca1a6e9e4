"""A session's line to a speech-to-speech model that fails, ages and forgets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import numpy as np
import pytest

from services.ai.capabilities import ProviderError, ProviderTimeoutError
from services.ai.engines.speech_line import SpeechLine
from services.ai.fallback import Named
from services.ai.speech_model import (
    Ask,
    AskKind,
    Briefing,
    ReplyDone,
    SpeechEvent,
    SpeechModelCapabilities,
    TutorWords,
)

SOUND = np.ones(320, np.int16)
LOST = ProviderError("the connection failed", retryable=True)


class FakeLink:
    """A connection that notes what it is told, and says what it is given."""

    def __init__(self, forgets: bool) -> None:
        self.told: list[str] = []
        self.closed = False
        self.coming: asyncio.Queue[SpeechEvent | ProviderError] = asyncio.Queue()
        self._forgets = forgets

    async def hear(self, audio: np.ndarray) -> None:
        self.told.append("hear")

    async def pause(self) -> None:
        self.told.append("pause")

    async def reply(self, ask: Ask) -> None:
        self.told.append(f"reply {ask.generation}")

    async def stop(self, generation: int, heard_ms: int) -> bool:
        self.told.append(f"stop {generation} at {heard_ms}")
        return self._forgets

    async def forget(self) -> bool:
        self.told.append("forget")
        return self._forgets

    async def events(self) -> AsyncIterator[SpeechEvent]:
        while True:
            event = await self.coming.get()
            if isinstance(event, ProviderError):
                raise event
            yield event

    async def aclose(self) -> None:
        self.closed = True


@dataclass
class FakeModel:
    session_s: float = 3600.0
    forgets: bool = True
    first_s: float = 30.0
    refuses: ProviderError | None = None
    links: list[FakeLink] = field(default_factory=list)
    asked: int = 0
    slowly: asyncio.Event | None = None

    @property
    def capabilities(self) -> SpeechModelCapabilities:
        return SpeechModelCapabilities(
            24_000, (), ("en",), True, self.session_s, 8000, 4, self.first_s, 30.0
        )

    async def connect(self, briefing: Briefing) -> FakeLink:
        self.asked += 1
        if self.slowly is not None:
            await self.slowly.wait()
        if self.refuses is not None:
            raise self.refuses
        self.links.append(FakeLink(self.forgets))
        return self.links[-1]

    @property
    def told(self) -> list[str]:
        return self.links[-1].told


@dataclass
class Seen:
    line: SpeechLine
    events: list[SpeechEvent]
    failures: list[ProviderError]


@asynccontextmanager
async def running(*models: FakeModel) -> AsyncIterator[Seen]:
    events: list[SpeechEvent] = []
    failures: list[ProviderError] = []
    chain = [Named(f"model-{index}", model) for index, model in enumerate(models)]
    line = SpeechLine(chain, lambda: Briefing("", (), "", 1.0), events.append, failures.append)
    work = asyncio.create_task(line.run())
    await settle()
    try:
        yield Seen(line, events, failures)
    finally:
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
        assert all(link.closed for model in models for link in model.links)


async def settle() -> None:
    for _ in range(50):
        await asyncio.sleep(0)


def ask(generation: int) -> Ask:
    return Ask(generation, AskKind.UTTERANCE)


async def test_a_lost_connection_is_replaced_and_hears_the_question_again():
    model = FakeModel()
    async with running(model) as seen:
        seen.line.ask(Ask(1, AskKind.TEXT, "Hi"))
        await settle()
        model.links[0].coming.put_nowait(TutorWords("Hello"))
        model.links[0].coming.put_nowait(ReplyDone())
        await settle()
        seen.line.hear(SOUND)
        seen.line.pause()
        seen.line.ask(ask(2))
        await settle()
        model.links[0].coming.put_nowait(LOST)
        await settle()
        assert len(model.links) == 2
        assert model.told == ["hear", "pause", "reply 2"]
        assert seen.failures == []


async def test_a_question_gets_one_second_chance_and_no_third():
    model = FakeModel()
    async with running(model) as seen:
        seen.line.ask(ask(1))
        await settle()
        model.links[0].coming.put_nowait(TutorWords("Hello"))
        model.links[0].coming.put_nowait(ReplyDone())
        await settle()
        seen.line.ask(ask(2))
        for _ in range(2):
            await settle()
            model.links[-1].coming.put_nowait(LOST)
        await settle()
        assert seen.failures == [LOST]
        assert model.asked == 2


async def test_whoever_refuses_is_asked_once_an_utterance_and_not_at_each_piece():
    model = FakeModel(refuses=LOST)
    async with running(model) as seen:
        assert model.asked == 1
        for _ in range(20):
            seen.line.hear(SOUND)
            await settle()
        assert model.asked == 2
        assert seen.failures == []
        seen.line.ask(ask(1))
        await settle()
        assert model.asked == 3
        assert seen.failures == [LOST]


async def test_what_failed_is_over_for_the_next_question():
    model = FakeModel(refuses=LOST)
    async with running(model) as seen:
        seen.line.ask(ask(1))
        await settle()
        model.refuses = None
        seen.line.ask(ask(2))
        await settle()
        assert model.told == ["reply 2"]


async def test_an_old_connection_is_replaced_between_turns_alone():
    model = FakeModel(session_s=0.0)
    async with running(model) as seen:
        seen.line.hear(SOUND)
        await settle()
        first = model.asked
        seen.line.hear(SOUND)
        seen.line.ask(ask(1))
        await settle()
        assert model.asked == first
        assert model.told == ["hear", "hear", "reply 1"]


async def test_a_model_that_cannot_forget_is_told_anew():
    model = FakeModel(forgets=False)
    async with running(model) as seen:
        seen.line.hear(SOUND)
        await settle()
        seen.line.forget()
        await settle()
        assert model.links[0].told == ["hear", "forget"]
        assert model.links[0].closed
        assert model.told == []
        assert len(model.links) == 2


async def test_a_connection_that_was_told_what_nobody_heard_is_made_anew():
    model = FakeModel()
    model.slowly = asyncio.Event()
    async with running(model) as seen:
        seen.line.stop(3, 200)
        model.slowly.set()
        await settle()
        assert len(model.links) == 2
        assert model.links[0].closed
        seen.line.hear(SOUND)
        await settle()
        assert model.told == ["hear"]


async def test_what_was_never_sent_needs_not_be_forgotten():
    model = FakeModel(refuses=LOST)
    async with running(model) as seen:
        seen.line.hear(SOUND)
        seen.line.forget()
        model.refuses = None
        seen.line.hear(SOUND)
        await settle()
        assert model.told == ["hear"]


async def test_nothing_of_a_stopped_reply_is_passed_on():
    model = FakeModel()
    async with running(model) as seen:
        seen.line.ask(ask(1))
        await settle()
        seen.line.stop(1, 200)
        model.links[0].coming.put_nowait(TutorWords("late"))
        await settle()
        assert seen.events == []
        assert model.told == ["reply 1", "stop 1 at 200"]


async def test_a_reply_that_does_not_begin_is_given_up():
    model = FakeModel(first_s=0.01)
    async with running(model) as seen:
        seen.line.ask(ask(1))
        async with asyncio.timeout(5):
            while not seen.failures:
                await asyncio.sleep(0.01)
    assert isinstance(seen.failures[0], ProviderTimeoutError)


@pytest.mark.parametrize("elsewhere", [True, False])
async def test_only_what_another_may_not_have_is_tried_elsewhere(elsewhere: bool):
    refusal = ProviderError("refused", retryable=False, elsewhere=elsewhere)
    first, second = FakeModel(refuses=refusal), FakeModel()
    async with running(first, second) as seen:
        seen.line.ask(ask(1))
        await settle()
        assert bool(second.links) is elsewhere
        assert bool(seen.failures) is not elsewhere
