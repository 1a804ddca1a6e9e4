"""Events that come by way of Redis have the same effect as those that are called, once each."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from parley.history.v1 import history_pb2 as pb
from services.common.clock import SystemClock
from services.common.errors import ParleyError, Unavailable
from services.common.outbox import OutboxEvent
from services.common.redis.connection import connected
from services.common.redis.streams import StreamPolicy, StreamPublisher
from services.common.refusals import EventsRefusedError
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


@pytest.fixture
async def history(serve_history: Serve, redis_url: str) -> AsyncIterator[History]:
    async with serve_history(redis_url=redis_url) as found:
        yield found


async def said(history: History, told: Told) -> list[str]:
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


async def test_when_the_sender_goes_on_it_is_stored(history: History, redis_url: str, tell):
    told = tell()
    async with sender(redis_url) as publisher:
        await publisher.publish(outboxed(told.started(), told.turn(1, "hello")))
        assert await said(history, told) == ["hello"]


async def test_sent_twice_and_in_any_order_it_has_one_effect(
    history: History, redis_url: str, tell
):
    told = tell()
    events = outboxed(told.started(), *(told.turn(i, f"turn {i}") for i in range(1, 9)))
    events = [*events, *events]
    random.Random(6).shuffle(events)
    async with sender(redis_url) as publisher:
        for each in events:
            await publisher.publish([each])
    assert await said(history, told) == [f"turn {i}" for i in range(1, 9)]


async def test_a_poisoned_event_comes_back_with_its_reason_and_the_others_are_stored(
    history: History, redis_url: str, tell
):
    told = tell()
    good = outboxed(told.started(), told.turn(1, "hello"), told.turn(2, "good bye"))
    garbage = OutboxEvent("c", "told", b"\xff\xff")
    lawless = OutboxEvent("c", "told", pb.ConversationEvent(event_id="?").SerializeToString())
    (taken,) = outboxed(told.turn(1, "another first turn"))
    async with sender(redis_url) as publisher:
        await publisher.publish(good[:2])
        with pytest.raises(EventsRefusedError) as caught:
            await publisher.publish([garbage, lawless, taken, good[2]])
    refusals = caught.value.refusals
    assert list(refusals) == [garbage.event_id, lawless.event_id, taken.event_id]
    reasons = [why.split(":")[0] for why in refusals.values()]
    assert reasons == ["MALFORMED_MESSAGE", "INVALID_REQUEST", "EVENT_INVALID"]
    assert "another turn has this number already" in refusals[taken.event_id]
    assert await said(history, told) == ["hello", "good bye"]


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
    assert await said(history, told) == [f"turn {i}" for i in range(1, 13)]


async def test_calls_are_taken_as_well(history: History, tell):
    told = tell()
    assert (await history.ingest(told.started(), told.turn(1, "hello"))).stored == 2
    assert await said(history, told) == ["hello"]
