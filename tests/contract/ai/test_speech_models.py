"""What goes wrong between a session and a speech-to-speech model, and what becomes of the turn."""

from __future__ import annotations

import asyncio
import logging

import pytest

from services.ai.capabilities import (
    Message,
    ProviderBusyError,
    ProviderError,
    ProviderRefusedError,
    ProviderTimeoutError,
    Role,
)
from services.ai.engine import (
    ChangeSettings,
    FailureReason,
    Interrupt,
    Notice,
    ReplyAudio,
    ReplyEndReason,
    ReplyText,
    SessionConfig,
    SpeechStarted,
    StageKind,
    TurnCommitted,
    TypedText,
    UtteranceDropped,
)
from services.ai.speech_model import Briefing
from tests.contract.ai.live_engines import (
    HEARD,
    LOUD,
    MULTIMODAL,
    QUIET,
    REPLY,
    Make,
    Subject,
    chain,
    gemini,
    realtime,
    talk,
)
from tests.contract.vendors import gemini_live_server, realtime_server
from tests.contract.vendors.faults import Break, Broken, Refusal

BRIEFING = Briefing(
    "Be kind.", (Message(Role.USER, "Hi"), Message(Role.ASSISTANT, "Hello!")), "", 1
)


@pytest.fixture(params=MULTIMODAL)
def every_model(request: pytest.FixtureRequest) -> Make:
    return MULTIMODAL[request.param]


async def failure(subject: Subject) -> ProviderError:
    assert subject.model is not None
    with pytest.raises(ProviderError) as caught:
        await subject.model.connect(BRIEFING)
    assert "SECRET-PROMPT" not in str(caught.value)
    assert subject.name in str(caught.value)
    return caught.value


# --- connecting -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "kind", "retryable"),
    [
        (401, ProviderRefusedError, False),
        (403, ProviderRefusedError, False),
        (404, ProviderRefusedError, False),
        (429, ProviderBusyError, True),
        (500, ProviderError, True),
    ],
)
async def test_a_refusal_is_told_by_its_kind(
    every_model: Make, status: int, kind: type[ProviderError], retryable: bool
):
    async with every_model() as subject:
        subject.vendor.fault, subject.vendor.at = Refusal(status), "setup"
        error = await failure(subject)
    assert isinstance(error, kind)
    assert error.retryable is retryable
    assert error.elsewhere


async def test_no_log_has_what_was_said_or_the_key(
    every_model: Make, caplog: pytest.LogCaptureFixture
):
    # The stand-in is no part of Parley.
    caplog.set_level(logging.WARNING, "websockets.server")
    with caplog.at_level(logging.DEBUG):
        async with every_model() as subject:
            async with talk(subject.engine) as t:
                assert (await t.turn()).text == REPLY
                t.session.handle(TypedText("SECRET-PROMPT"))
                await t.reply(2)
            subject.vendor.fault, subject.vendor.at = Refusal(500), "setup"
            await failure(subject)
    keys = (realtime_server.KEY, gemini_live_server.KEY)
    for secret in ("SECRET-PROMPT", "Be kind", "my name is", "to meet", *keys):
        assert secret not in caplog.text


async def test_an_account_without_credit_is_not_asked_again():
    async with realtime() as subject:
        subject.vendor.fault, subject.vendor.at = Refusal(429, "insufficient_quota"), "setup"
        assert isinstance(await failure(subject), ProviderRefusedError)


async def test_a_wrong_model_is_a_matter_of_the_settings(every_model: Make):
    async with every_model(model="another") as subject:
        assert isinstance(await failure(subject), ProviderRefusedError)


@pytest.mark.parametrize("how", Break)
async def test_a_connection_that_breaks_at_its_beginning_leaves_nothing_open(
    every_model: Make, how: Break
):
    async with every_model(connect_timeout_s=0.3) as subject:
        subject.vendor.fault, subject.vendor.at = Broken(how), "setup"
        error = await failure(subject)
        assert error.retryable
        if how in (Break.SILENT, Break.STALLS):
            assert isinstance(error, ProviderTimeoutError)
        await subject.vendor.until_connected(0)


async def test_nobody_there_is_told_at_once(every_model: Make):
    async with every_model(base_url="https://127.0.0.1:1/v1") as subject:
        assert "connection" in str(await failure(subject))


async def test_as_many_conversations_as_the_settings_say(every_model: Make):
    async with every_model(max_sessions=1) as subject:
        first = subject.engine.open(SessionConfig())
        with pytest.raises(ProviderBusyError):
            subject.engine.open(SessionConfig())
        first.close()
        subject.engine.open(SessionConfig()).close()


# --- in the middle ----------------------------------------------------------------------------


@pytest.mark.parametrize("how", Break)
async def test_a_reply_that_breaks_off_fails_and_the_session_goes_on(every_model: Make, how: Break):
    async with every_model(first_timeout_s=0.3, next_timeout_s=0.3) as subject:
        subject.vendor.fault = Broken(how, after=2)
        async with talk(subject.engine) as t:
            t.session.handle(TypedText("Hello"))
            failed = await t.reply()
            subject.vendor.fault = None
            t.session.handle(TypedText("Are you there?"))
            answered = await t.reply(2)
        (notice,) = t.of(Notice)
        # The learner may have heard the beginning, so the model is told of it.
        assert subject.prompt[0] == ("user", "Hello")
        assert subject.prompt[-1] == ("user", "Are you there?")
    assert notice.reason is FailureReason.LANGUAGE_MODEL
    assert "SECRET-PROMPT" not in notice.message
    assert failed.reason is ReplyEndReason.FAILED
    assert failed.text in ("", "Nice", "Nice to")
    assert (answered.reason, answered.text) == (ReplyEndReason.COMPLETED, REPLY)


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("rate_limit_exceeded", "takes no more requests"),
        ("insufficient_quota", "has no credit"),
        ("server_error", "failed"),
    ],
)
async def test_a_reply_that_the_server_gives_up_is_told_by_its_kind(code: str, told: str):
    async with realtime() as subject:
        subject.vendor.failing = code
        async with talk(subject.engine) as t:
            t.session.handle(TypedText("Hello"))
            assert (await t.reply()).reason is ReplyEndReason.FAILED
    assert told in t.of(Notice)[0].message


async def test_a_connection_lost_between_turns_is_replaced_and_told_everything(every_model: Make):
    async with every_model() as subject:
        async with talk(subject.engine) as t:
            await t.turn()
            subject.vendor.cut()
            await subject.vendor.until_connected(0)
            ended = await t.turn()
        assert subject.vendor.opened == 2
        assert subject.prompt == [("user", HEARD), ("assistant", REPLY), ("user", HEARD)]
    assert ended.reason is ReplyEndReason.COMPLETED
    assert t.of(Notice) == []


async def test_a_connection_lost_while_the_learner_speaks_hears_it_all_again(every_model: Make):
    async with every_model(hears=("Hello.", "I like soup.")) as subject:
        async with talk(subject.engine) as t:
            t.session.handle(TypedText("Hi"))
            first = await t.reply()
            t.session.handle(Interrupt(first.generation, first.text, heard_ms=first.audio_ms))
            await t.hear(LOUD, 1000)
            await t.until_said(SpeechStarted)
            opened = subject.vendor.opened
            subject.vendor.cut()
            await subject.vendor.until(lambda: subject.vendor.opened > opened)
            await t.hear(LOUD, 1000)
            await t.hear(QUIET, 6000)
            ended = await t.reply(2)
        talk_ms = getattr(subject.vendor.talks[-1], "heard_ms", [2000])
        assert sum(talk_ms) == pytest.approx(2000, abs=100)
        assert subject.prompt[:2] == [("user", "Hi"), ("assistant", REPLY)]
    assert ended.reason is ReplyEndReason.COMPLETED


async def test_before_its_time_is_over_a_connection_is_replaced_between_turns(every_model: Make):
    async with every_model() as subject:
        async with talk(subject.engine) as t:
            await t.turn()
            await subject.vendor.expire()
            await subject.vendor.until(lambda: subject.vendor.opened == 2)
            await subject.vendor.until_connected(1)
            await t.turn()
        assert subject.vendor.opened == 2
        assert subject.prompt == [("user", HEARD), ("assistant", REPLY), ("user", HEARD)]
    assert t.of(Notice) == []


async def test_another_voice_speaks_from_the_next_reply_on(every_model: Make):
    async with every_model() as subject:
        other = subject.engine.description.voices[1].id
        async with talk(subject.engine) as t:
            t.session.handle(TypedText("Hello"))
            await t.reply()
            t.session.handle(ChangeSettings(voice=other))
            await subject.vendor.until(lambda: subject.vendor.opened == 2)
            t.session.handle(TypedText("And now?"))
            await t.reply(2)
        last = subject.vendor.talks[-1]
        assert other in str(getattr(last, "session", None) or last.setup)
        assert len(subject.prompt) == 3


async def test_words_that_could_not_be_written_down_are_told_and_are_no_turn():
    async with realtime() as subject:
        subject.vendor.cannot_write = True
        async with talk(subject.engine) as t:
            await t.utterance()
            await t.until_said(UtteranceDropped)
    (notice,) = t.of(Notice)
    assert notice.reason is FailureReason.RECOGNIZER


# --- chains -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("at", "fault"),
    [
        ("setup", Refusal(401)),
        ("setup", Broken(Break.CUT)),
        ("hear", Broken(Break.CUT)),
        ("hear", Broken(Break.GARBAGE)),
        ("reply", Broken(Break.CUT)),
        ("reply", Broken(Break.SILENT)),
    ],
)
@pytest.mark.parametrize("makes", [(realtime, gemini), (gemini, realtime)])
async def test_the_next_of_a_chain_hears_it_all_and_the_stages_say_why(
    makes: tuple[Make, Make], at: str, fault: object
):
    async with makes[0](first_timeout_s=0.3) as first, makes[1]() as second:
        assert first.model is not None
        assert second.model is not None
        first.vendor.fault, first.vendor.at = fault, at
        engine = chain((first.model, first.name), (second.model, second.name))
        async with talk(engine) as t:
            await t.utterance()
            ended = await t.reply()
            t.session.handle(TypedText("Still there?"))
            await t.reply(2)
        assert second.prompt == [("user", HEARD), ("assistant", REPLY), ("user", "Still there?")]
    assert ended.reason is ReplyEndReason.COMPLETED
    assert t.of(Notice) == []
    for stages in [each.stages for each in t.of(ReplyAudio) if each.stages]:
        stage = next(each for each in stages if each.kind is StageKind.FIRST_TOKEN)
        assert stage.provider == second.name
        assert f"{first.name} failed:" in stage.note


async def test_what_was_half_said_is_not_said_again_by_another():
    async with realtime() as first, gemini() as second:
        assert first.model is not None
        assert second.model is not None
        first.vendor.fault = Broken(Break.CUT, after=3)
        engine = chain((first.model, first.name), (second.model, second.name))
        async with talk(engine) as t:
            t.session.handle(TypedText("Hello"))
            ended = await t.reply()
        assert second.vendor.opened == 0
    assert ended.reason is ReplyEndReason.FAILED
    assert ended.text.startswith("Nice to")


# --- stopping ---------------------------------------------------------------------------------


@pytest.mark.parametrize("at", ["setup", "hear", "reply"])
async def test_a_cancelled_session_hangs_up_wherever_it_is(every_model: Make, at: str):
    async with every_model(connect_timeout_s=30, first_timeout_s=30) as subject:
        subject.vendor.fault, subject.vendor.at = Broken(Break.STALLS), at
        session = subject.engine.open(SessionConfig())
        running = asyncio.create_task(session.run())
        await subject.vendor.until(lambda: subject.vendor.opened == 1)
        session.handle(TypedText("Hello"))
        await subject.vendor.until(lambda: subject.vendor.talks)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        await subject.vendor.until_connected(0)


async def test_five_minutes_of_speech_are_one_turn(every_model: Make):
    async with every_model() as subject, talk(subject.engine) as t:
        for _ in range(29):
            await t.hear(LOUD, 10_000)
        await t.hear(QUIET, 6000)
        ended = await t.reply()
    assert ended.reason is ReplyEndReason.COMPLETED
    turn = t.of(TurnCommitted)[0]
    assert turn.transcript.verbatim == HEARD
    assert t.of(ReplyText)
