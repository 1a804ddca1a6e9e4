"""Events have one effect, or come back with the reason, by way of Redis and by call."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from parley.history.v1 import history_pb2 as pb
from services.common.clock import SystemClock
from services.common.errors import ParleyError, Unavailable
from services.common.outbox import OutboxEvent
from services.common.outbox_relay import Publish
from services.common.redis.connection import connected
from services.common.redis.sign_ins import SINCE
from services.common.redis.streams import StreamPolicy, StreamPublisher
from services.common.refusals import EventsRefusedError
from services.conversation.adapters.history import HistoryPublisher
from tests.contract.history.conftest import History, Serve, Told
from tests.redis import empty

IMPATIENT = StreamPolicy(stored_seconds=1.0)


def outboxed(*events: pb.ConversationEvent) -> list[OutboxEvent]:
    return [
        OutboxEvent(each.conversation_id, "told", each.SerializeToString(), each.event_id)
        for each in events
    ]


@asynccontextmanager
async def sender(redis_url: str) -> AsyncIterator[StreamPublisher]:
    async def nowhere(_events: object) -> None:
        raise Unavailable("no other way", reason="PEER_UNAVAILABLE")

    async with connected(redis_url) as redis:
        publisher = StreamPublisher(redis, "history", SystemClock(), nowhere, IMPATIENT)
        hearing = asyncio.create_task(publisher.run())
        try:
            yield publisher
        finally:
            hearing.cancel()
            await asyncio.wait({hearing})


class Calling:
    """Calls history as the conversation service does."""

    def __init__(self, history: History) -> None:
        self._history = history

    async def Ingest(self, request: pb.IngestRequest) -> pb.IngestResponse:
        return await self._history.ingest(*request.events)


@pytest.fixture
async def history(serve_history: Serve, redis_url: str) -> AsyncIterator[History]:
    async with serve_history(redis_url=redis_url) as found:
        yield found


@pytest.fixture(params=["redis", "call"])
async def publish(
    request: pytest.FixtureRequest, history: History, redis_url: str
) -> AsyncIterator[Publish]:
    if request.param == "call":
        yield HistoryPublisher(cast("Any", Calling(history))).publish
        return
    async with sender(redis_url) as publisher:
        yield publisher.publish


async def said(history: History, told: Told, redis_url: str) -> list[str]:
    async with connected(redis_url) as redis:
        # The user service, which nobody runs here, would say so: no end of a sign-in is forgotten.
        await redis.set(SINCE, "0")
    request = pb.GetConversationRequest(conversation_id=told.conversation_id)
    found = await history.ask("GetConversation", request)
    return [each.turn.utterance.clean for each in found.turns]


async def keep_sending(publisher: StreamPublisher, *events: OutboxEvent) -> None:
    """Play the outbox's part: what is not acknowledged is sent again."""
    while True:
        try:
            return await publisher.publish(events)
        except ParleyError:
            continue


async def test_when_the_sender_goes_on_it_is_stored(
    history: History, publish: Publish, redis_url: str, tell
):
    told = tell()
    await publish(outboxed(told.started(), told.turn(1, "hello")))
    assert await said(history, told, redis_url) == ["hello"]


async def test_sent_twice_and_in_any_order_it_has_one_effect(
    history: History, publish: Publish, redis_url: str, tell
):
    told = tell()
    events = outboxed(told.started(), *(told.turn(i, f"turn {i}") for i in range(1, 9)))
    events = [*events, *events]
    random.Random(6).shuffle(events)
    for each in events:
        await publish([each])
    assert await said(history, told, redis_url) == [f"turn {i}" for i in range(1, 9)]


async def test_a_poisoned_event_comes_back_with_its_reason_and_the_others_are_stored(
    history: History, publish: Publish, redis_url: str, tell
):
    told = tell()
    good = outboxed(told.started(), told.turn(1, "hello"), told.turn(2, "good bye"))
    garbage = OutboxEvent("c", "told", b"\xff\xff")
    lawless = OutboxEvent("c", "told", pb.ConversationEvent(event_id="?").SerializeToString())
    (taken,) = outboxed(told.turn(1, "another first turn"))
    await publish(good[:2])
    with pytest.raises(EventsRefusedError) as caught:
        await publish([garbage, lawless, taken, good[2]])
    refusals = caught.value.refusals
    assert list(refusals) == [garbage.event_id, lawless.event_id, taken.event_id]
    reasons = [why.split(":")[0] for why in refusals.values()]
    assert reasons == ["MALFORMED_MESSAGE", "INVALID_REQUEST", "EVENT_INVALID"]
    assert "another turn has this number already" in refusals[taken.event_id]
    assert await said(history, told, redis_url) == ["hello", "good bye"]


async def test_emptied_at_any_moment_no_turn_is_lost(history: History, redis_url: str, tell):
    told = tell()
    events = outboxed(told.started(), *(told.turn(i, f"turn {i}") for i in range(1, 13)))
    async with sender(redis_url) as publisher:
        for number, each in enumerate(events):
            sending = asyncio.create_task(keep_sending(publisher, each))
            if number % 4 == 0:
                await asyncio.sleep(0)
                await asyncio.to_thread(empty, redis_url)
            await sending
    assert await said(history, told, redis_url) == [f"turn {i}" for i in range(1, 13)]
