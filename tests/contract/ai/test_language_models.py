"""What every language model promises to its callers, whoever made it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import aclosing

import pytest

from services.ai.capabilities import (
    GenerationOptions,
    LanguageModelSession,
    Message,
    ProviderBusyError,
    ProviderError,
    ProviderRefusedError,
    ProviderTimeoutError,
    Role,
)
from services.ai.streams import closable
from tests.contract.ai.conftest import Make, Subject
from tests.contract.vendors.faults import Break, Broken, Refusal

TUTOR = Message(Role.SYSTEM, "You are a friendly English tutor. Answer in one short sentence.")
ASKED = (TUTOR, Message(Role.USER, "SECRET-PROMPT Hello, my name is Ana."))
# Long enough that a reply that is cut anywhere has begun, and is not over.
LONG = " ".join(f"Number {index} is a fine number." for index in range(200))


async def said(
    session: LanguageModelSession,
    options: GenerationOptions,
    messages: Sequence[Message] = ASKED,
) -> str:
    return "".join([piece async for piece in session.stream(messages, options)])


# --- bad input --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "messages",
    [
        (),
        (TUTOR,),
        (TUTOR, Message(Role.USER, "")),
        (Message(Role.USER, " \n"),),
    ],
)
async def test_nothing_to_answer_is_never_sent_elsewhere(
    every_model: Make, messages: tuple[Message, ...]
):
    async with every_model() as subject:
        session = subject.model.open()
        if subject.vendor:
            with pytest.raises(ProviderError, match="nothing to answer") as caught:
                await said(session, subject.options, messages)
            assert not caught.value.retryable
            assert not subject.vendor.http.requests
        else:
            assert isinstance(await said(session, subject.options, messages), str)
        session.close()


async def test_a_reply_of_no_tokens_is_empty(every_model: Make):
    async with every_model() as subject:
        session = subject.model.open()
        assert await said(session, GenerationOptions(max_tokens=0)) == ""
        session.close()


async def test_a_conversation_that_the_tutor_begins_is_gone_on_with(every_model: Make):
    begun = (TUTOR, Message(Role.ASSISTANT, "Welcome!"), Message(Role.USER, "Thank you."))
    async with every_model() as subject:
        session = subject.model.open()
        text = await said(session, subject.options, begun)
        assert text == subject.says or (text and not subject.says)
        session.close()


# --- replies ----------------------------------------------------------------------------------


async def test_a_reply_comes_in_pieces_and_whole_whatever_its_script(every_model: Make):
    async with every_model() as subject:
        session = subject.model.open()
        pieces = [piece async for piece in session.stream(ASKED, subject.options)]
        session.close()
        assert len(pieces) > 1
        assert all(pieces)
        if subject.says:
            assert "".join(pieces) == subject.says


async def test_no_more_is_written_than_was_asked_for(every_model: Make):
    async with every_model() as subject:
        session = subject.model.open()
        text = await said(session, GenerationOptions(temperature=0.0, max_tokens=2))
        session.close()
        assert 1 <= len(text.split()) <= 2


@pytest.mark.parametrize("stop", [("\n\n", "Learner:", "a", "e", "```", "o")])
async def test_a_reply_ends_before_the_first_stop_string(remote_model: Make, stop: tuple[str, ...]):
    # The local one has a test of its own; the scripted one knows no stops.
    async with remote_model() as subject:
        session = subject.model.open()
        text = await said(session, GenerationOptions(max_tokens=24, stop=stop))
        session.close()
        assert text == "Très bi"


async def test_one_session_answers_again_and_again(every_model: Make):
    async with every_model() as subject:
        session = subject.model.open()
        first, second = await said(session, subject.options), await said(session, subject.options)
        session.close()
        assert first
        assert second


async def test_a_budget_is_kept_with_the_count_of_tokens(every_model: Make):
    async with every_model() as subject:
        count = subject.model.count_tokens
        assert count("I like to cook with my family on Sundays.") >= 8
        assert count("word " * 200) >= 200


# --- places -----------------------------------------------------------------------------------


async def test_places_are_bounded_and_come_back(every_model: Make):
    async with every_model() as subject:
        places = min(subject.model.capabilities.max_sessions, 3)
        sessions = [subject.model.open() for _ in range(places)]
        if places < 3:
            with pytest.raises(ProviderBusyError):
                subject.model.open()
        sessions[0].close()
        sessions[0].close()
        again = subject.model.open()
        for session in (*sessions, again):
            session.close()


# --- stopping ---------------------------------------------------------------------------------


async def test_a_reply_that_is_closed_stops_at_once(every_model: Make):
    async with every_model() as subject:
        if subject.vendor:
            # Without an end: only closing it lets go of the connection.
            subject.vendor.reply = LONG
            subject.vendor.fault = Broken(Break.STALLS, after=20)
        session = subject.model.open()
        async with aclosing(closable(session.stream(ASKED, subject.options))) as pieces:
            async for _ in pieces:
                break
        if subject.vendor:
            await subject.vendor.http.until_connected(0)
            subject.vendor.fault = None
        assert await said(session, subject.options)
        session.close()


@pytest.mark.parametrize("pieces_before", [0, 1])
async def test_a_reply_whose_reader_is_cancelled_stops_at_once(
    every_model: Make, pieces_before: int
):
    async with every_model() as subject:
        if subject.vendor:
            subject.vendor.fault = Broken(Break.STALLS, after=20)
            subject.vendor.reply = LONG
        begun = asyncio.Event()
        session = subject.model.open()

        async def read() -> None:
            seen = 0
            if seen >= pieces_before:
                begun.set()
            async for _ in session.stream(ASKED, subject.options):
                seen += 1
                if seen >= pieces_before:
                    begun.set()
                    await asyncio.Event().wait()

        reading = asyncio.create_task(read())
        await begun.wait()
        if subject.vendor:
            await subject.vendor.http.until_asked(1)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        if subject.vendor:
            await subject.vendor.http.until_connected(0)
            subject.vendor.fault = None
        assert await said(session, subject.options)
        session.close()


async def test_what_is_read_ahead_can_be_cancelled_and_asked_for_twice(every_model: Make):
    async with every_model() as subject:
        session = subject.model.open()
        priming = asyncio.create_task(session.prime(ASKED))
        await asyncio.sleep(0)
        priming.cancel()
        await asyncio.gather(priming, return_exceptions=True)
        await session.prime(ASKED)
        assert await said(session, subject.options)
        session.close()


# --- providers elsewhere: what goes wrong on the way ---------------------------------------------


async def failure(subject: Subject, pieces_before: int = 0) -> ProviderError:
    session = subject.model.open()
    seen = []
    try:
        with pytest.raises(ProviderError) as caught:
            async for piece in session.stream(ASKED, subject.options):
                seen.append(piece)  # noqa: PERF401 - those before the failure count
    finally:
        session.close()
    assert len(seen) >= pieces_before
    message = str(caught.value)
    assert "SECRET-PROMPT" not in message
    assert "sk-" not in message
    return caught.value


@pytest.mark.parametrize("status", [401, 403])
async def test_a_key_that_is_refused_is_for_a_person_to_mend(remote_model: Make, status: int):
    async with remote_model() as subject:
        subject.vendor.fault = Refusal(status)
        error = await failure(subject)
        assert isinstance(error, ProviderRefusedError)
        assert "API key" in str(error)
        assert error.elsewhere


async def test_nobody_sends_words_and_key_elsewhere(remote_model: Make):
    async with remote_model() as subject:
        subject.vendor.fault = Refusal(307, headers={"location": subject.vendor.base_url})
        assert "base_url" in str(await failure(subject))
        assert len(subject.vendor.http.requests) == 1


async def test_no_log_has_what_was_said_or_the_key(
    remote_model: Make, caplog: pytest.LogCaptureFixture
):
    with caplog.at_level(logging.DEBUG):
        async with remote_model() as subject:
            session = subject.model.open()
            assert await said(session, subject.options)
            session.close()
            subject.vendor.fault = Refusal(500)
            await failure(subject)
    for secret in ("SECRET-PROMPT", "sk-", "Très bien"):
        assert secret not in caplog.text


async def test_a_wrong_key_is_refused_by_the_vendor_itself(remote_model: Make):
    async with remote_model() as subject:
        subject.vendor.key = "another"
        assert isinstance(await failure(subject), ProviderRefusedError)


async def test_a_model_that_nobody_knows_is_for_a_person_to_mend(remote_model: Make):
    async with remote_model(model="nosuch") as subject:
        error = await failure(subject)
        assert isinstance(error, ProviderRefusedError)
        assert "model" in str(error)


async def test_an_account_without_credit_is_for_a_person_to_mend(remote_model: Make):
    async with remote_model() as subject:
        for refusal in (Refusal(402), Refusal(429, "insufficient_quota")):
            subject.vendor.fault = refusal
            error = await failure(subject)
            assert isinstance(error, ProviderRefusedError)
            assert "no credit" in str(error)


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after-ms": "250"}, 0.25),
        ({"retry-after": "soon"}, None),
        ({}, None),
    ],
)
async def test_a_quota_that_is_used_up_says_how_long_to_wait(
    remote_model: Make, headers: dict[str, str], wait: float | None
):
    async with remote_model() as subject:
        subject.vendor.fault = Refusal(429, headers=headers)
        error = await failure(subject)
        assert isinstance(error, ProviderBusyError)
        assert error.retry_after_s == wait
        # The chain decides who is asked next: nothing waits inside the client.
        assert len(subject.vendor.http.requests) == 1


@pytest.mark.parametrize("status", [500, 502, 503])
async def test_a_failure_of_the_vendor_may_be_tried_again(remote_model: Make, status: int):
    async with remote_model() as subject:
        subject.vendor.fault = Refusal(status)
        error = await failure(subject)
        assert error.retryable
        assert str(status) in str(error)
        assert len(subject.vendor.http.requests) == 1


@pytest.mark.parametrize("status", [400, 413, 422])
async def test_a_request_that_is_refused_is_not_tried_again_there(remote_model: Make, status: int):
    async with remote_model() as subject:
        subject.vendor.fault = Refusal(status)
        error = await failure(subject)
        assert not error.retryable
        assert error.elsewhere


async def test_nobody_there_is_told_at_once(remote_model: Make):
    # Port 1 of the loopback: nothing listens there, and nothing may without rights.
    async with remote_model(base_url="http://127.0.0.1:1/v1") as subject:
        error = await failure(subject)
        assert error.retryable
        assert "connection" in str(error)


@pytest.mark.parametrize(
    "fault", [Broken(Break.SILENT), Broken(Break.STALLS), Broken(Break.STALLS, after=5)]
)
async def test_silence_ends_at_its_time_limit(remote_model: Make, fault: Broken):
    limits = {"first_timeout_s": 0.3, "next_timeout_s": 0.3}
    async with remote_model(**limits) as subject:
        subject.vendor.fault = fault
        error = await failure(subject)
        assert isinstance(error, ProviderTimeoutError)
        await subject.vendor.http.until_connected(0)


@pytest.mark.parametrize("how", [Break.CUT, Break.ENDS_EARLY, Break.GARBAGE, Break.WRONG_FORM])
@pytest.mark.parametrize("after", [0, 5])
async def test_a_stream_that_breaks_is_an_error_and_never_a_short_reply(
    remote_model: Make, how: Break, after: int
):
    async with remote_model() as subject:
        subject.vendor.fault = Broken(how, after)
        error = await failure(subject, pieces_before=1 if after else 0)
        assert error.retryable
        subject.vendor.fault = None
        session = subject.model.open()
        assert await said(session, subject.options) == subject.says
        session.close()


async def test_a_kept_connection_that_the_server_closed_costs_no_reply(remote_model: Make):
    async with remote_model() as subject:
        session = subject.model.open()
        assert await said(session, subject.options) == subject.says
        # The next request on the kept connection is cut before an answer; a new one is served.
        subject.vendor.http.cut_next = True
        assert await said(session, subject.options) == subject.says
        assert len(subject.vendor.http.requests) == 3
        session.close()


async def test_a_request_that_a_new_connection_carried_is_not_sent_twice(remote_model: Make):
    async with remote_model() as subject:
        subject.vendor.http.cut_next = True
        error = await failure(subject)
        assert error.retryable
        # It may have been carried out, and has to be paid then.
        assert len(subject.vendor.http.requests) == 1


async def test_a_request_that_was_answered_with_anything_is_not_sent_twice(remote_model: Make):
    async with remote_model() as subject:
        session = subject.model.open()
        assert await said(session, subject.options) == subject.says
        session.close()
        subject.vendor.http.garble_next = True
        error = await failure(subject)
        assert error.retryable
        assert len(subject.vendor.http.requests) == 2


async def test_a_reply_that_is_declined_is_an_error_that_another_may_not_have(remote_model: Make):
    async with remote_model() as subject:
        subject.vendor.reply = ""
        is_openai = hasattr(subject.vendor, "error_after") is False
        subject.vendor.finish_reason = "content_filter" if is_openai else "refusal"
        error = await failure(subject)
        assert "declines" in str(error)
        assert error.elsewhere
        assert not error.retryable
