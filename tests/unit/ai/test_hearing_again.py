"""A turn's utterance is heard again once its reply is complete, and never in anybody's way."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from dataclasses import dataclass, field

import pytest

from services.ai.adapters.scripted import ScriptedRecognizer, scripted_transcript
from services.ai.capabilities import Pcm16, ProviderError, RecognitionSession, Transcript
from services.ai.engine import (
    Interrupt,
    ReplyEnded,
    ReplyHeard,
    TranscriptRevised,
    TurnCommitted,
    TypedText,
)
from services.ai.fallback import FallbackRecognizer, Named
from services.ai.learner import PastTurn, Scenario
from services.ai.script import Script
from tests.unit.ai.test_pipeline import Talk, Watched, position, settle, talk

AGAIN = {"recognizer": {"texts": ["I love for him."], "again": ["I left her at home."]}}


@dataclass
class Ear:
    """A recognition whose second hearing waits for the test."""

    may_hear: asyncio.Event = field(default_factory=asyncio.Event)
    outcome: Transcript | ProviderError | None = None
    asked: int = 0
    expected: set[str] = field(default_factory=set)
    cancelled: bool = False
    closed: bool = False
    again_by: str = "the careful ear"

    def feed(self, audio: Pcm16) -> None:
        assert not self.closed

    async def partial(self) -> str | None:
        return None

    async def final(self) -> Transcript:
        return scripted_transcript("I love for him.", 1000)

    async def again(self, expected: Collection[str]) -> Transcript | None:
        self.asked += 1
        self.expected = set(expected)
        try:
            await self.may_hear.wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        if isinstance(self.outcome, ProviderError):
            raise self.outcome
        return self.outcome

    def close(self) -> None:
        self.closed = True


class Ears(ScriptedRecognizer):
    """A recognizer of one ear."""

    def __init__(self, ear: Ear) -> None:
        super().__init__(Script())
        self._ear = ear

    def open(self) -> RecognitionSession:  # type: ignore[override]
        return self._ear


async def say(t: Talk) -> None:
    await t.voice(1000)
    await t.silence(800)


async def test_the_revision_follows_the_whole_reply_and_names_who_heard_it():
    async with talk(AGAIN) as t:
        await say(t)
    (committed,) = t.of(TurnCommitted)
    (revised,) = t.of(TranscriptRevised)
    assert committed.will_be_revised
    assert committed.transcript.verbatim == "I love for him."
    assert revised.transcript.verbatim == "I left her at home."
    assert (revised.turn, revised.generation) == (committed.turn, committed.generation)
    assert revised.recognizer == "scripted-again"
    assert position(t.said, ReplyEnded) < position(t.said, TranscriptRevised)


async def test_a_recognizer_that_hears_once_promises_nothing():
    async with talk({"recognizer": {"texts": ["I like tea."]}}) as t:
        await say(t)
    assert not t.of(TurnCommitted)[0].will_be_revised
    assert t.of(TranscriptRevised) == []


async def test_a_typed_turn_is_not_heard_again():
    async with talk(AGAIN) as t:
        t.session.handle(TypedText("hello"))
        await settle()
    assert not t.of(TurnCommitted)[0].will_be_revised
    assert t.of(TranscriptRevised) == []


async def test_what_the_second_hearing_did_not_understand_changes_nothing():
    ear = Ear(outcome=Transcript(verbatim="", clean=""))
    ear.may_hear.set()
    async with talk(recognizer=Ears(ear)) as t:
        await say(t)
    assert ear.asked == 1
    assert ear.closed
    assert t.of(TranscriptRevised) == []


async def test_a_second_hearing_that_fails_is_not_told():
    ear = Ear(outcome=ProviderError("the careful ear is deaf", retryable=False))
    ear.may_hear.set()
    async with talk(recognizer=Ears(ear)) as t:
        await say(t)
    assert ear.closed
    assert t.of(TranscriptRevised) == []
    assert len(t.of(ReplyEnded)) == 1


async def test_it_is_left_when_the_reply_was_heard_for_the_turn_is_stored():
    ear = Ear()
    async with talk(recognizer=Ears(ear)) as t:
        await say(t)
        assert ear.asked == 1
        t.session.handle(ReplyHeard(t.of(TurnCommitted)[0].generation))
        await settle()
        assert ear.cancelled
        assert ear.closed
    assert t.of(TranscriptRevised) == []


async def test_it_is_left_when_the_learner_interrupts():
    ear = Ear()
    async with talk(recognizer=Ears(ear)) as t:
        await say(t)
        t.session.handle(Interrupt(t.of(TurnCommitted)[0].generation, ""))
        await settle()
        assert ear.cancelled
    assert t.of(TranscriptRevised) == []


async def test_a_session_that_ends_does_not_wait_for_it():
    ear = Ear()
    async with asyncio.timeout(20), talk(recognizer=Ears(ear)) as t:
        await say(t)
    assert ear.cancelled
    assert ear.closed


async def test_it_is_skipped_while_somebody_else_waits_for_the_language_model(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(Watched, "writing", 1)
    ear = Ear(outcome=scripted_transcript("better", 1000))
    ear.may_hear.set()
    async with talk(recognizer=Ears(ear)) as t:
        await say(t)
    assert ear.asked == 0
    assert ear.closed
    assert t.of(TranscriptRevised) == []


async def test_it_knows_what_the_talk_is_about():
    ear = Ear(outcome=scripted_transcript("better", 1000))
    ear.may_hear.set()
    scenario = Scenario(vocabulary=("boarding pass", "a gate"))
    history = (PastTurn("Hi.", "Is your luggage heavy?"),)
    async with talk(recognizer=Ears(ear), scenario=scenario, history=history) as t:
        await say(t)
    assert ear.expected == {"boarding", "luggage", "heavy"}


async def test_the_first_of_several_recognizers_hears_it_again():
    script = Script.model_validate(AGAIN)
    named = [
        Named("first", ScriptedRecognizer(script)),
        Named("second", ScriptedRecognizer(script)),
    ]
    recognition = FallbackRecognizer(named).open()
    assert recognition.again_by == "scripted-again"
    heard = await recognition.again(())
    assert heard is not None
    assert heard.verbatim == "I left her at home."
    deaf = FallbackRecognizer([Named("only", ScriptedRecognizer(Script()))]).open()
    assert deaf.again_by == ""
    assert await deaf.again(()) is None
