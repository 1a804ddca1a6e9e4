"""What every engine promises to a live session: barge-in, truncation, what is resumed."""

from __future__ import annotations

import pytest

from services.ai.engine import (
    EndInput,
    EndTurn,
    Heard,
    Interrupt,
    ReplyAudio,
    ReplyEndReason,
    ReplyHeard,
    ReplyPurpose,
    ReplyText,
    RequestReply,
    Resolve,
    SpeechEnded,
    SpeechStarted,
    TurnCommitted,
    TypedText,
    UtteranceDropped,
    UtteranceSource,
)
from services.ai.learner import LearnerProfile, PastTurn, Scenario
from services.ai.prompts.builder import PromptContext, system_message
from tests.contract.ai.live_engines import ENGINES, HEARD, LOUD, QUIET, REPLY, Make, talk

TWO = ("Hello, my name is Ana.", "Wait, what did you say?")


@pytest.fixture(params=ENGINES)
def every_engine(request: pytest.FixtureRequest) -> Make:
    return ENGINES[request.param]


async def test_a_turn_is_heard_announced_and_answered_in_this_order(every_engine: Make):
    async with every_engine() as subject:
        async with talk(subject.engine, next_turn=3, last_generation=7) as t:
            await t.utterance()
            ended = await t.reply()
        assert subject.prompt == [("user", HEARD)]
    order = [type(each) for each in t.said]
    places = [order.index(kind) for kind in (SpeechStarted, SpeechEnded, TurnCommitted, ReplyText)]
    assert places == sorted(places)
    (committed,) = t.of(TurnCommitted)
    assert (committed.turn, committed.source) == (3, UtteranceSource.SPEECH)
    assert committed.generation > 7
    assert committed.transcript.verbatim == HEARD
    assert t.of(Heard)[-1].final
    assert ended.generation == committed.generation
    assert ended.reason is ReplyEndReason.COMPLETED
    assert t.text(ended.generation) == ended.text == REPLY
    audio = t.of(ReplyAudio)
    assert sum(len(each.pcm) for each in audio) == 2 * 24 * ended.audio_ms
    assert all(0 < len(each.pcm) <= 9600 for each in audio)
    assert [bool(each.stages) for each in audio] == [True] + [False] * (len(audio) - 1)
    stages = audio[0].stages
    assert sum(stage.duration_ms for stage in stages) == pytest.approx(
        max(stage.at_ms for stage in stages), abs=0.01
    )


async def test_words_never_stand_behind_the_end_of_the_sound(every_engine: Make):
    async with (
        every_engine(replies=("It is, to be entirely honest, incomprehensible.",)) as subject,
        talk(subject.engine) as t,
    ):
        await t.utterance()
        ended = await t.reply()
    offsets = [each.audio_offset_ms for each in t.of(ReplyText)]
    assert offsets == sorted(offsets)
    assert offsets[-1] <= ended.audio_ms


async def test_of_an_interrupted_reply_the_model_remembers_what_was_heard(every_engine: Make):
    async with every_engine(hears=TWO) as subject:
        async with talk(subject.engine) as t:
            await t.utterance()
            first = await t.reply()
            await t.hear(LOUD, 600)
            await t.until_said(SpeechStarted, 2)
            t.session.handle(Interrupt(first.generation, "Nice to meet", heard_ms=600))
            t.session.handle(Resolve(take=True))
            await t.hear(QUIET, 6000)
            second = await t.reply(2)
        assert subject.prompt == [
            ("user", TWO[0]),
            ("assistant", "Nice to meet"),
            ("user", TWO[1]),
        ]
    assert second.reason is ReplyEndReason.COMPLETED
    assert t.of(TurnCommitted)[-1].transcript.verbatim == TWO[1]


async def test_a_reply_that_nobody_heard_is_not_remembered(every_engine: Make):
    async with every_engine() as subject:
        async with talk(subject.engine) as t:
            t.session.handle(TypedText("Hello"))
            first = await t.reply()
            t.session.handle(Interrupt(first.generation, "", heard_ms=0))
            t.session.handle(TypedText("my friend"))
            await t.reply(2)
        said = " ".join(text for _, text in subject.prompt)
        assert said == "Hello my friend"


async def test_an_interrupted_reply_says_nothing_more_and_the_next_is_whole(every_engine: Make):
    replies = ("One two three. " * 7 + "One two three.", REPLY)
    async with every_engine(replies=replies, pace_s=0.01) as subject, talk(subject.engine) as t:
        t.session.handle(TypedText("Hello"))
        await t.until_said(ReplyText)
        first = t.of(TurnCommitted)[0].generation
        t.session.handle(Interrupt(first, "One", heard_ms=200))
        said = len(t.said)
        t.session.handle(TypedText("Go on"))
        ended = await t.reply()
    assert {getattr(each, "generation", first + 1) for each in t.said[said:]} == {first + 1}
    assert ended.text == REPLY
    assert ended.reason is ReplyEndReason.COMPLETED


async def test_a_new_turn_silences_the_reply_before_it(every_engine: Make):
    replies = ("One two three. " * 7 + "One two three.", REPLY)
    async with every_engine(replies=replies, pace_s=0.01) as subject, talk(subject.engine) as t:
        t.session.handle(TypedText("Hello"))
        await t.until_said(ReplyText)
        t.session.handle(TypedText("Stop"))
        ended = await t.reply()
    first, second = t.of(TurnCommitted)
    after = t.said[t.said.index(second) :]
    assert {getattr(each, "generation", 0) for each in after} == {second.generation}
    assert first.generation < second.generation
    assert ended.text == REPLY


async def test_speech_over_a_reply_is_no_turn_until_it_is_taken(every_engine: Make):
    async with every_engine(hears=TWO) as subject, talk(subject.engine) as t:
        await t.utterance()
        first = await t.reply()
        await t.utterance(600)
        await t.until_said(SpeechEnded, 2)
        assert len(t.of(TurnCommitted)) == 1
        # Its words come all the same: by them it is decided.
        await t.until(
            lambda: any("Wait" in each.transcript.verbatim for each in t.of(Heard)),
        )
        t.session.handle(Interrupt(first.generation, "Nice", heard_ms=200))
        t.session.handle(Resolve(take=True))
        await t.hear(QUIET, 600)
        await t.reply(2)
    assert t.of(TurnCommitted)[-1].transcript.verbatim == TWO[1]


async def test_what_is_dismissed_is_forgotten(every_engine: Make):
    hears = ("Hello, my name is Ana.", "Mhm.", "I like soup.")
    async with every_engine(hears=hears) as subject:
        async with talk(subject.engine) as t:
            await t.utterance()
            first = await t.reply()
            await t.hear(LOUD, 400)
            await t.hear(QUIET, 400)
            await t.until_said(SpeechEnded, 2)
            t.session.handle(Resolve(take=False))
            dropped = await t.until_said(UtteranceDropped)
            t.session.handle(ReplyHeard(first.generation))
            await t.utterance()
            await t.reply(2)
        prompt = subject.prompt
    assert dropped.reason == "dismissed"
    assert prompt[:2] == [("user", HEARD), ("assistant", REPLY)]
    assert len(prompt) == 3
    assert "Mhm" not in str(prompt)


async def test_what_was_said_before_is_resumed_with_the_rules_and_the_learner(every_engine: Make):
    profile = LearnerProfile(name="Ana", interests=("chess",))
    scenario = Scenario(role="a waiter in a small restaurant")
    history = (PastTurn("Hi there", "Hello! How are you?"), PastTurn("Fine, and you", "Great!"))
    async with every_engine() as subject:
        async with talk(
            subject.engine, profile=profile, scenario=scenario, history=history, next_turn=3
        ) as t:
            t.session.handle(TypedText("Shall we go on?"))
            await t.reply()
        assert subject.prompt == [
            ("user", "Hi there"),
            ("assistant", "Hello! How are you?"),
            ("user", "Fine, and you"),
            ("assistant", "Great!"),
            ("user", "Shall we go on?"),
        ]
        assert subject.rules == system_message(PromptContext(profile, scenario)).text
    assert t.of(TurnCommitted)[0].turn == 3


async def test_what_was_heard_of_the_reply_before_the_resume_is_corrected(every_engine: Make):
    history = (PastTurn("Hi there", "Hello! How are you today?"),)
    async with every_engine() as subject:
        async with talk(subject.engine, history=history, last_generation=9, next_turn=2) as t:
            t.session.handle(Interrupt(9, "Hello!", heard_ms=300))
            t.session.handle(TypedText("Sorry?"))
            await t.reply()
        assert subject.prompt == [
            ("user", "Hi there"),
            ("assistant", "Hello!"),
            ("user", "Sorry?"),
        ]


async def test_a_tutor_opens_with_the_scenarios_line(every_engine: Make):
    scenario = Scenario(opening_line="Welcome! What can I get you?")
    async with every_engine() as subject, talk(subject.engine, scenario=scenario) as t:
        t.session.handle(RequestReply(ReplyPurpose.OPENING))
        ended = await t.reply()
    assert ended.text == "Welcome! What can I get you?"
    assert t.of(TurnCommitted)[0].source is UtteranceSource.NONE


async def test_a_hint_is_given_when_it_is_asked_for(every_engine: Make):
    async with every_engine() as subject, talk(subject.engine) as t:
        t.session.handle(RequestReply(ReplyPurpose.HINT))
        assert (await t.reply()).text == REPLY


async def test_captions_alone_make_no_sound(every_engine: Make):
    async with every_engine() as subject, talk(subject.engine, captions_only=True) as t:
        t.session.handle(TypedText("Hello"))
        ended = await t.reply()
    assert t.of(ReplyAudio) == []
    assert (ended.text, ended.audio_ms) == (REPLY, 0)


@pytest.mark.parametrize("last", [EndTurn(), EndInput()])
async def test_speech_that_is_ended_by_the_learner_is_answered(every_engine: Make, last: object):
    async with every_engine() as subject, talk(subject.engine) as t:
        await t.hear(LOUD, 1000)
        t.session.handle(last)
        await t.reply()
    assert t.of(TurnCommitted)[0].transcript.verbatim == HEARD


async def test_any_language_and_sign_passes_both_ways(every_engine: Make):
    hears, reply = "I love the café, 日本語 and 😀!", "Très bien! 日本語 is fun, 😀 right?"
    async with every_engine(hears=(hears,), replies=(reply,)) as subject:
        async with talk(subject.engine) as t:
            await t.utterance()
            ended = await t.reply()
        assert subject.prompt[-1][0] == "user"
    assert t.of(TurnCommitted)[0].transcript.verbatim == hears
    # What no voice says is left out by the pipeline.
    assert "Très bien! 日本語 is fun," in t.text(ended.generation)


async def test_noise_without_words_is_no_turn(every_engine: Make):
    async with every_engine(hears=("", "I like soup.")) as subject, talk(subject.engine) as t:
        await t.utterance()
        dropped = await t.until_said(UtteranceDropped)
        await t.utterance()
        await t.reply()
    assert dropped.reason == "empty"
    assert [each.transcript.verbatim for each in t.of(TurnCommitted)] == ["I like soup."]
