"""Limits of time: who is silent, who stays too long, what takes too long."""

from __future__ import annotations

import time

import pytest

from parley.conversation.v1 import conversation_pb2
from services.common.errors import ParleyError
from tests.e2e.caller import Caller, RawTalk
from tests.e2e.clients import answer
from tests.e2e.small_limits.table import CALLED, TALKS, ends_with, small, tries, unrecorded
from tests.e2e.town import Parley, Small
from tests.e2e.web_talk import UploadTalk, WebSocketTalk, WebTalk

IDLE_S = LONGEST_S = STREAM_S = 0.5
START_S = DEFAULT_S = 0.3
MOST_S = 0.6

PATIENCE = small(
    "patience",
    Small({"conversation_idle_seconds": IDLE_S, "start_timeout_seconds": START_S}),
)
LENGTH = small("length", Small({"conversation_max_seconds": LONGEST_S}))
DEADLINES = small(
    "deadlines",
    Small(
        {
            "default_deadline_seconds": DEFAULT_S,
            "max_deadline_seconds": MOST_S,
            "max_stream_seconds": STREAM_S,
        }
    ),
)


@tries(PATIENCE, "conversation_idle_seconds")
async def who_says_nothing_is_idle(parley: Parley, client: str) -> None:
    async with parley.caller() as one:
        before = time.monotonic()
        async with unrecorded(one, client) as talk:
            assert await ends_with(talk) == "CONVERSATION_IDLE"
            assert time.monotonic() - before >= IDLE_S


@tries(LENGTH, "conversation_max_seconds")
async def a_talk_lasts_so_long_and_no_longer(parley: Parley, client: str) -> None:
    async with parley.caller() as one:
        before = time.monotonic()
        async with unrecorded(one, client) as talk:
            assert await ends_with(talk) == "CONVERSATION_TOO_LONG"
            assert time.monotonic() - before >= LONGEST_S


@tries(PATIENCE, "start_timeout_seconds")
async def who_does_not_begin_is_not_waited_for(parley: Parley, client: str) -> None:
    async with parley.caller() as one:
        before = time.monotonic()
        if client == "native":
            raw = RawTalk(one)
            assert await ends_with(raw) == "START_REQUIRED"
        elif client == "websocket":
            async with WebSocketTalk(one) as talk:
                await talk.handshake()
                assert await ends_with(talk) == "START_REQUIRED"
        else:
            async with UploadTalk(one) as talk:
                await talk.begin_upload()
                assert talk.upload is not None
                with pytest.raises(ParleyError) as caught:
                    await talk.answer(talk.upload)
                (field,) = caught.value.fields
                assert field.field == "conversation_id"
        assert time.monotonic() - before >= START_S


def recording(talk: RawTalk | WebTalk, seconds: float) -> conversation_pb2.PushRequest:
    """Return a batch of so much audio, at once: it is taken at the pace of speech."""
    pcm = bytes(2 * 48 * 200)
    batch = [
        conversation_pb2.ConverseRequest(seq=number, audio={"pcm": pcm})
        for number in range(2, 2 + round(5 * seconds))
    ]
    return conversation_pb2.PushRequest(conversation_id=talk.conversation_id, requests=batch)


async def takes(one: Caller, client: str, deadline: float | None, most: float) -> None:
    """A call that would take ten seconds ends with its deadline, and not before."""
    async with unrecorded(one, "grpc-web") as talk:
        before = time.monotonic()
        error = await answer(
            one, client, TALKS.methods_by_name["Push"], recording(talk, 10), deadline=deadline
        )
        assert error is not None
        assert error.reason == "DEADLINE_EXCEEDED"
        assert time.monotonic() - before >= most


@tries(DEADLINES, "default_deadline_seconds", by=CALLED)
async def a_call_without_a_deadline_ends(parley: Parley, client: str) -> None:
    async with parley.caller() as one:
        await takes(one, client, None, DEFAULT_S)


@tries(DEADLINES, "max_deadline_seconds", by=CALLED)
async def a_call_with_a_long_deadline_ends_at_the_longest(parley: Parley, client: str) -> None:
    async with parley.caller() as one:
        await takes(one, client, 20.0, MOST_S)


@tries(DEADLINES, "max_stream_seconds", by=CALLED)
async def a_stream_lasts_so_long_and_no_longer(parley: Parley, client: str) -> None:
    async with parley.caller() as one:
        before = time.monotonic()
        async with unrecorded(one, client) as talk:
            assert await ends_with(talk) == "DEADLINE_EXCEEDED"
            assert time.monotonic() - before >= STREAM_S
