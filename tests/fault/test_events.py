"""What comes to history twice, in another order or poisoned: one effect, or a dead letter that says
why, and nothing else is held up by it.

The events are those of a real talk, told to a running Parley by way of its own Redis and out of its
own outbox.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import pytest
from sqlalchemy import select

from admin.dead_letters import listed
from admin.installation import Installation
from parley.history.v1 import history_pb2
from services.common.clock import SystemClock
from services.common.database import Database
from services.common.dead_letters import DeadLetter
from services.common.errors import Unavailable
from services.common.ids import new_id
from services.common.outbox import Outbox, OutboxEvent
from services.common.redis.connection import answered, connected
from services.common.redis.streams import PAYLOAD, StreamPublisher, stream_of
from services.common.timestamps import to_timestamp
from services.conversation.adapters.tables import OutboxRow
from services.history.adapters.tables import EventRow
from tests.e2e.caller import BOUND_S, Caller, RawTalk, caller
from tests.fault.world import World

TURNS = 2
TIMES = 3
REFUSED_WITHIN_S = 20.0

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(120),
    pytest.mark.leaves_behind("a running Parley that the tests share, and what it restarted"),
]


async def has_talked(one: Caller) -> RawTalk:
    """Hold a talk, and wait until history has all of it."""
    talk = RawTalk(one)
    await talk.start()
    for number in range(1, TURNS + 1):
        await talk.send(text={"text": f"What I typed, part {number}"})
        await talk.until("turn_saved")
    await talk.send(finish={})
    await talk.until("ended")
    async with asyncio.timeout(BOUND_S):
        while not (await seen(one, talk.conversation_id)).conversation.HasField("ended_at"):
            await asyncio.sleep(0.1)
    return talk


async def seen(one: Caller, conversation_id: str) -> history_pb2.GetConversationResponse:
    """Return a conversation as its learner sees it; an empty one where there is none yet.

    Without its recording and what was assessed, which come in their own time.
    """
    request = history_pb2.GetConversationRequest(conversation_id=conversation_id)
    listed_now = await one.history.ListConversations(
        history_pb2.ListConversationsRequest(), metadata=one.metadata, timeout=BOUND_S
    )
    if conversation_id not in [each.conversation_id for each in listed_now.conversations]:
        return history_pb2.GetConversationResponse()
    found: history_pb2.GetConversationResponse = await one.history.GetConversation(
        request, metadata=one.metadata, timeout=BOUND_S
    )
    found.conversation.ClearField("recording_id")
    found.conversation.ClearField("corrections")
    for record in found.turns:
        record.ClearField("feedback")
    return found


async def adds_up(one: Caller) -> history_pb2.GetProgressResponse:
    """Return what the learner is told of the progress."""
    found: history_pb2.GetProgressResponse = await one.history.GetProgress(
        history_pb2.GetProgressRequest(time_zone="UTC"), metadata=one.metadata, timeout=BOUND_S
    )
    return found


async def events_of(
    installation: Installation, one: Caller, conversation_id: str
) -> list[history_pb2.ConversationEvent]:
    """Return the events that history has of a talk, in their order, as their sender had them."""
    told = await seen(one, conversation_id)
    turns = iter(record.turn for record in told.turns)
    url = installation.keeper("history").settings.database_url
    async with Database.open(url) as database, database.snapshot() as session:
        rows = await session.scalars(
            select(EventRow)
            .where(EventRow.conversation_id == conversation_id)
            .order_by(EventRow.occurred_at)
        )
        events = []
        for row in rows:
            event = history_pb2.ConversationEvent(
                event_id=row.event_id,
                conversation_id=conversation_id,
                user_id=row.user_id,
                occurred_at=to_timestamp(row.occurred_at),
            )
            if row.kind == "turn":
                event.turn.CopyFrom(next(turns))
            elif row.kind == "started":
                event.started.scenario_id = told.conversation.scenario_id
                event.started.scenario_title = told.conversation.scenario_title
                event.started.engine = told.conversation.engine
            elif row.kind == "ended":
                event.ended.SetInParent()
            else:
                continue
            events.append(event)
    return events


@asynccontextmanager
async def sender(redis_url: str) -> AsyncIterator[StreamPublisher]:
    """Send as Parley's conversation service does, and know no other way."""

    async def nowhere(_events: object) -> None:
        raise Unavailable("no other way", reason="PEER_UNAVAILABLE")

    async with connected(redis_url) as redis, asyncio.TaskGroup() as group:
        publisher = StreamPublisher(redis, "history", SystemClock(), nowhere)
        hearing = group.create_task(publisher.run())
        yield publisher
        hearing.cancel()


def outboxed(event: history_pb2.ConversationEvent) -> OutboxEvent:
    return OutboxEvent(
        event.conversation_id, "told", event.SerializeToString(), event_id=event.event_id
    )


def of_another_talk(
    events: Sequence[history_pb2.ConversationEvent],
) -> list[history_pb2.ConversationEvent]:
    """Return the same events, told of a talk that nobody has heard of yet."""
    conversation_id, others = new_id(), []
    for event in events:
        other = history_pb2.ConversationEvent()
        other.CopyFrom(event)
        other.event_id, other.conversation_id = new_id(), conversation_id
        if other.HasField("turn"):
            other.turn.turn_id = new_id()
        others.append(other)
    return others


async def test_events_that_come_again_and_in_any_order_have_one_effect(whole: World) -> None:
    installation = Installation.load(whole.stack.environment)
    async with caller(whole.stack.address) as one, sender(whole.redis.url) as publisher:
        talk = await has_talked(one)
        once, sums = await seen(one, talk.conversation_id), await adds_up(one)
        events = await events_of(installation, one, talk.conversation_id)
        assert [each.turn.turn_id for each in events if each.HasField("turn")] == [
            turn_id for _, turn_id in talk.saved
        ]
        others = of_another_talk(events)
        random = Random(6)
        sent = [*events, *others] * TIMES
        random.shuffle(sent)
        # Some together, some each for itself: both ways a receiver meets a repetition.
        while sent:
            some = [sent.pop() for _ in range(min(len(sent), random.randint(1, 4)))]
            await publisher.publish([outboxed(each) for each in some])
        assert await seen(one, talk.conversation_id) == once
        twin = await seen(one, others[0].conversation_id)
        said = [(each.turn.number, each.turn.utterance.clean) for each in once.turns]
        assert [(each.turn.number, each.turn.utterance.clean) for each in twin.turns] == said
        for field in ("turns", "preview", "started_at", "ended_at", "median_silence_ms"):
            assert getattr(twin.conversation, field) == getattr(once.conversation, field), field
        twice = await adds_up(one)
        for field in ("turns", "words", "speech_ms"):
            before, after = (
                sum(getattr(day, field) for day in told.days) for told in (sums, twice)
            )
            assert after == 2 * before, field


async def test_a_poisoned_event_becomes_a_dead_letter_with_its_reason_and_holds_nothing_up(
    whole: World,
) -> None:
    installation = Installation.load(whole.stack.environment)
    async with caller(whole.stack.address) as one:
        talk = await has_talked(one)
        once = await seen(one, talk.conversation_id)
        events = await events_of(installation, one, talk.conversation_id)
        (_, taken, *_) = of_another_talk(events)
        taken.conversation_id = talk.conversation_id
        (_, anothers, *_) = of_another_talk(events)
        anothers.user_id, anothers.conversation_id = new_id(), talk.conversation_id
        last = of_another_talk(events)[:2]
        lawless = history_pb2.ConversationEvent(event_id="?")
        poisoned = [
            ("MALFORMED_MESSAGE", b"\xff\xff"),
            ("INVALID_REQUEST", lawless.SerializeToString()),
            ("EVENT_INVALID", taken.SerializeToString()),
            ("EVENT_INVALID", anothers.SerializeToString()),
        ]
        letters = [OutboxEvent(talk.conversation_id, "told", each) for _, each in poisoned]
        good = [outboxed(each) for each in last]
        nobodys: Any = {PAYLOAD: b"nobody sent this"}
        async with connected(whole.redis.url) as redis:
            await answered(redis.xadd(stream_of("history"), nobodys))
        await put(installation, [*letters, *good])
        dead = await dead_letters(installation, {each.event_id for each in letters})
        reasons = [dead[each.event_id].reason.split(":")[0] for each in letters]
        assert reasons == [reason for reason, _ in poisoned]
        assert "another turn has this number" in dead[letters[2].event_id].reason
        assert "belongs to another user" in dead[letters[3].event_id].reason
        aside = [each.reason for each in dead.values() if each.size_bytes == len(nobodys[PAYLOAD])]
        assert aside == ["it has no event, reply"]
        assert await seen(one, talk.conversation_id) == once
        arrived = await seen(one, last[0].conversation_id)
        assert [each.turn.turn_id for each in arrived.turns] == [last[1].turn.turn_id]


async def put(installation: Installation, events: Sequence[OutboxEvent]) -> None:
    """Write events into the outbox of the conversation service, which runs."""
    outbox = Outbox(OutboxRow, SystemClock())
    url = installation.keeper("conversation").settings.database_url
    async with Database.open(url) as database, database.transaction() as session:
        for event in events:
            await outbox.append(session, event)


async def dead_letters(installation: Installation, ids: set[str]) -> dict[str, DeadLetter]:
    """Wait until there are dead letters of these ids, and return them."""
    deadline = time.monotonic() + REFUSED_WITHIN_S
    while True:
        found = await asyncio.to_thread(listed, installation)
        dead = {each.letter.letter_id: each.letter for each in found.shown}
        if ids <= dead.keys():
            return dead
        assert time.monotonic() < deadline, sorted(ids - dead.keys())
        await asyncio.sleep(0.2)
