"""Events by way of Redis arrive once each, or are sent again; what cannot arrive is told of."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import pytest
from sqlalchemy.orm import DeclarativeBase

from services.common.clock import ManualClock, SystemClock
from services.common.database import Database
from services.common.dead_letters import DeadLetters
from services.common.errors import InvalidArgument, Unavailable
from services.common.outbox import Outbox, OutboxEvent, OutboxMixin
from services.common.outbox_relay import OutboxRelay, RelayPolicy
from services.common.redis import connection
from services.common.redis.connection import Redis, connected
from services.common.redis.laid_aside import laid_aside, replay
from services.common.redis.streams import (
    StreamConsumer,
    StreamPolicy,
    StreamPublisher,
    dead_letters_of,
    stream_of,
)
from services.common.refusals import EventsRefusedError, send_each
from tests.fault.line import line
from tests.redis import RedisServer, empty

QUICK = StreamPolicy(
    stored_seconds=20.0,
    waiting_seconds=0.05,
    abandoned_seconds=0.05,
    first_backoff_seconds=0.01,
    attempts=3,
)
IMPATIENT = replace(QUICK, stored_seconds=0.2)
STREAM, DEAD = stream_of("history"), dead_letters_of("history")


class Receiver:
    """Stores payloads, each once, all of a call or none; refuses and fails as it is told."""

    def __init__(self) -> None:
        self.stored: list[bytes] = []
        self.calls: list[list[bytes]] = []
        self.refused: set[bytes] = set()
        self.broken: set[bytes] = set()
        self.away = False
        self.may_go_on = asyncio.Event()
        self.may_go_on.set()

    async def store(self, payloads: Sequence[bytes]) -> None:
        self.calls.append(list(payloads))
        await self.may_go_on.wait()
        if self.away:
            raise Unavailable("away", reason="DATABASE_UNAVAILABLE")
        if self.broken & set(payloads):
            raise ValueError("a bug")
        if self.refused & set(payloads):
            raise InvalidArgument("no", reason="EVENT_INVALID")
        self.stored += [each for each in payloads if each not in self.stored]


async def nowhere(events: Sequence[OutboxEvent]) -> None:
    raise Unavailable("no other way", reason="PEER_UNAVAILABLE")


def events(*payloads: bytes) -> list[OutboxEvent]:
    return [OutboxEvent("c", "turn", each) for each in payloads]


@asynccontextmanager
async def beside(*work: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    async def one(each: Callable[[], Awaitable[None]]) -> None:
        await each()

    tasks = [asyncio.create_task(one(each)) for each in work]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        done = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(each, asyncio.CancelledError) for each in done), done


def publisher(redis: Redis, policy: StreamPolicy = QUICK, directly: Any = nowhere):
    return StreamPublisher(redis, "history", SystemClock(), directly, policy)


def consumer(redis: Redis, receiver: Receiver, policy: StreamPolicy = QUICK) -> StreamConsumer:
    return StreamConsumer(redis, "history", receiver.store, SystemClock(), policy)


@pytest.fixture
def receiver() -> Receiver:
    return Receiver()


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not true():
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("event_id", [b"\xff\xfe", b"", b"two words", b"x" * 65], ids=repr)
async def test_an_entry_whose_id_is_none_is_laid_aside_and_the_one_beside_it_is_stored(
    redis, receiver, event_id
):
    """It ended the service that read it, each time that it started."""
    receiver.refused = {b"bad"}
    for its_id, payload in ((event_id, b"bad"), (b"e2", b"good")):
        entry: Any = {"event": its_id, "payload": payload, "reply": "parley:replies:s"}
        await redis.xadd(STREAM, entry)
    reader = consumer(redis, receiver)
    while await redis.xlen(STREAM):
        await reader.run_once()
    assert receiver.stored == [b"good"]
    ((_, aside),) = await redis.xrange(DEAD)
    assert (aside[b"event"], aside[b"why"]) == (event_id, b"its event's id is none")


async def test_what_nobody_foresaw_does_not_end_who_reads(redis, receiver, monkeypatch):
    reader = consumer(redis, receiver)
    real, failed = reader.run_once, asyncio.Event()

    async def fails() -> int:
        if failed.is_set():
            return await real()
        failed.set()
        raise ValueError("a bug")

    monkeypatch.setattr(reader, "run_once", fails)
    sender = publisher(redis)
    async with beside(sender.run, reader.run):
        await sender.publish(events(b"1"))
    assert failed.is_set()
    assert receiver.stored == [b"1"]


async def test_an_event_is_stored_before_its_sender_goes_on_and_leaves_no_copy(redis, receiver):
    sender = publisher(redis)
    async with beside(sender.run, consumer(redis, receiver).run):
        await sender.publish(events(b"1", b"2", b"3"))
        assert receiver.stored == [b"1", b"2", b"3"]
        assert await redis.xlen(STREAM) == 0, "somebody's words stayed"


async def test_what_nobody_stores_is_not_taken_for_sent(redis, receiver):
    sender = publisher(redis, IMPATIENT)
    async with beside(sender.run):
        with pytest.raises(Unavailable):
            await sender.publish(events(b"1"))
    async with beside(consumer(redis, receiver).run):
        await until(lambda: receiver.stored == [b"1"])


async def test_a_receiver_whose_database_is_away_takes_them_when_it_is_back(redis, receiver):
    receiver.away = True
    sender = publisher(redis)
    async with beside(sender.run, consumer(redis, receiver).run):
        sending = asyncio.create_task(sender.publish(events(b"1")))
        await until(lambda: len(receiver.calls) > 1)
        receiver.away = False
        await sending
    assert receiver.stored == [b"1"]


async def test_a_poisoned_event_is_refused_with_its_reason_and_the_others_are_stored(
    redis, receiver
):
    receiver.refused = {b"2"}
    sender = publisher(redis)
    sent = events(b"1", b"2", b"3")
    async with beside(sender.run, consumer(redis, receiver).run):
        with pytest.raises(EventsRefusedError) as caught:
            await sender.publish(sent)
    assert caught.value.refusals == {sent[1].event_id: "EVENT_INVALID: no"}
    assert receiver.stored == [b"1", b"3"]


async def test_an_event_that_meets_a_bug_holds_up_no_other_for_long(redis, receiver):
    receiver.broken = {b"2"}
    sender = publisher(redis)
    sent = events(b"1", b"2", b"3")
    async with beside(sender.run, consumer(redis, receiver).run):
        with pytest.raises(EventsRefusedError) as caught:
            await sender.publish(sent)
    assert caught.value.refusals == {sent[1].event_id: "INTERNAL: ValueError, 3 times"}
    assert receiver.stored == [b"1", b"3"]


async def test_what_a_dead_consumer_took_is_anothers(redis, receiver):
    dying = Receiver()
    dying.may_go_on.clear()
    sender = publisher(redis)
    async with beside(sender.run):
        async with beside(consumer(redis, dying).run):
            sending = asyncio.create_task(sender.publish(events(b"1")))
            await until(lambda: bool(dying.calls))
        async with beside(consumer(redis, receiver).run):
            await sending
    assert receiver.stored == [b"1"]


async def test_what_ends_every_consumer_that_takes_it_is_refused_at_last(redis, receiver):
    sender = publisher(redis)
    sent = events(b"deadly")
    async with beside(sender.run):
        sending = asyncio.create_task(sender.publish(sent))
        for _ in range(QUICK.deliveries):
            dying = Receiver()
            dying.may_go_on.clear()
            async with beside(consumer(redis, dying).run):
                await until(partial(bool, dying.calls))
        async with beside(consumer(redis, receiver).run):
            with pytest.raises(EventsRefusedError) as caught:
                await sending
    assert caught.value.refusals == {sent[0].event_id: "taken 5 times, and never spoken of"}
    assert receiver.calls == []


async def test_what_is_sent_twice_is_answered_twice(redis, receiver):
    sender = publisher(redis)
    same = events(b"1")
    async with beside(sender.run, consumer(redis, receiver).run):
        await sender.publish(same)
        await sender.publish(same)
    assert receiver.stored == [b"1"]


async def test_emptied_while_an_event_is_there_it_comes_again_when_it_is_sent_again(
    redis, redis_url, receiver
):
    """FLUSHALL takes the stream, its group and the entry that is being stored."""
    receiver.may_go_on.clear()
    sender = publisher(redis, IMPATIENT)
    same = events(b"1")
    async with beside(sender.run, consumer(redis, receiver).run):
        with pytest.raises(Unavailable):
            await sender.publish(same)
        empty(redis_url)
        receiver.may_go_on.set()
        async with asyncio.timeout(10):
            while True:
                try:
                    await sender.publish(same)
                    break
                except Unavailable:
                    continue
        await sender.publish(events(b"2"))
    assert receiver.stored == [b"1", b"2"]


async def test_emptied_again_and_again_nothing_is_lost(redis, redis_url, receiver):
    """The outbox's part is played here: what is not acknowledged is sent again."""
    sender = publisher(redis, IMPATIENT)

    async def send(event: OutboxEvent) -> None:
        while True:
            try:
                return await sender.publish([event])
            except Unavailable:
                continue

    async with beside(sender.run, consumer(redis, receiver).run):
        for number in range(30):
            sending = asyncio.create_task(send(*events(b"%d" % number)))
            if number % 3 == 0:
                await asyncio.sleep(0)
                await asyncio.to_thread(empty, redis_url)
            await sending
    assert receiver.stored == [b"%d" % number for number in range(30)]


async def test_what_nobody_reads_there_goes_the_other_way(redis, receiver):
    """The receiver may not have been told of this Redis."""
    receiver.refused = {b"2"}

    async def directly(events: Sequence[OutboxEvent]) -> None:
        refusals = await send_each([each.payload for each in events], receiver.store)
        if refusals:
            raise EventsRefusedError({events[at].event_id: why for at, why in refusals.items()})

    sender = publisher(redis, IMPATIENT, directly)
    sent = events(b"1", b"2", b"3")
    async with beside(sender.run):
        with pytest.raises(EventsRefusedError) as caught:
            await sender.publish(sent)
    assert list(caught.value.refusals) == [sent[1].event_id]
    assert receiver.stored == [b"1", b"3"]


async def test_a_redis_that_is_not_there_is_gone_around(absent, receiver):
    async def directly(events: Sequence[OutboxEvent]) -> None:
        await receiver.store([each.payload for each in events])

    sender = publisher(absent, directly=directly)
    async with beside(sender.run):
        await sender.publish(events(b"1"))
    assert receiver.stored == [b"1"]


class Base(DeclarativeBase):
    pass


class Row(OutboxMixin, Base):
    __tablename__ = "outbox"


async def test_what_its_receiver_fails_with_the_other_way_is_laid_aside_as_well(
    absent, receiver, tmp_path
):
    """It was tried for ever, and held up what was behind it."""
    clock = ManualClock()
    receiver.broken = {b"poison"}

    async def directly(sent: Sequence[OutboxEvent]) -> None:
        await receiver.store([each.payload for each in sent])

    async with Database.open(f"sqlite+aiosqlite:///{tmp_path}/x.sqlite3") as database:
        async with database.engine.begin() as made:
            await made.run_sync(Base.metadata.create_all)
        outbox = Outbox(Row, clock)
        relay = OutboxRelay(
            database, outbox, publisher(absent, directly=directly).publish, clock, RelayPolicy()
        )
        async with database.transaction() as session:
            for event in events(b"poison", b"behind it"):
                await outbox.append(session, event)
        for _ in range(6):
            await relay.run_once()
            await clock.advance(31)
        assert receiver.stored == [b"behind it"]
        (letter,) = await DeadLetters(database, Row, clock).refused()
        assert letter.reason == "INTERNAL: ValueError, 5 times"


async def test_a_redis_that_only_seems_to_be_there_is_gone_around(
    redis_url, receiver, monkeypatch: pytest.MonkeyPatch
):
    """Half-open connections: what is sent is taken, and nothing comes back."""
    monkeypatch.setattr(connection, "_ANSWER_SECONDS", 0.1)

    async def directly(events: Sequence[OutboxEvent]) -> None:
        await receiver.store([each.payload for each in events])

    far = urlsplit(redis_url).port or 6379
    async with line(far) as (cable, port), connected(f"redis://127.0.0.1:{port}/0") as redis:
        sender = publisher(redis, directly=directly)
        async with beside(sender.run, consumer(redis, receiver).run):
            await sender.publish(events(b"1"))
            cable.vanish()
            await sender.publish(events(b"2"))
            cable.mend()
            await sender.publish(events(b"3"))
    assert receiver.stored == [b"1", b"2", b"3"]


async def test_a_redis_that_dies_and_comes_back_is_used_again(receiver):
    with RedisServer.start() as server:
        async with connected(server.url) as redis:
            sender = publisher(redis)
            async with beside(sender.run, consumer(redis, receiver).run):
                await sender.publish(events(b"1"))
                server.kill()
                with pytest.raises(Unavailable):
                    await sender.publish(events(b"2"))
                server.up()
                await sender.publish(events(b"2"))
    assert receiver.stored == [b"1", b"2"]


async def test_what_is_nobodys_event_is_laid_aside_with_its_reason_and_can_be_sent_again(
    redis, redis_url, receiver
):
    await redis.xadd(STREAM, {b"payload": b"words"})
    async with beside(consumer(redis, receiver).run):
        await until_there(redis, 1)
        (letter,) = await laid_aside(redis_url, "history")
        assert letter.reason == "it has no event, reply"
        assert letter.size_bytes == 5
        assert await replay(redis_url, "history", ["0-1"]) == 0
        assert await replay(redis_url, "history", [letter.letter_id]) == 1
        await until_there(redis, 1)
        (again,) = await laid_aside(redis_url, "history")
        assert again.letter_id != letter.letter_id
    assert receiver.calls == []
    assert await redis.xlen(STREAM) == 0


async def until_there(redis: Redis, count: int) -> None:
    async with asyncio.timeout(10):
        while await redis.xlen(DEAD) != count:
            await asyncio.sleep(0.005)


async def test_several_consumers_share_the_work(redis):
    first, second = Receiver(), Receiver()
    # The first is held up by what it takes; the second takes the rest.
    first.may_go_on.clear()
    patient = replace(QUICK, abandoned_seconds=60.0, batch=1)
    sender = publisher(redis)
    async with beside(sender.run, consumer(redis, first, patient).run):
        one = asyncio.create_task(sender.publish(events(b"1")))
        await until(lambda: bool(first.calls))
        async with beside(consumer(redis, second, patient).run):
            await sender.publish(events(b"2"))
            first.may_go_on.set()
            await one
    assert (first.stored, second.stored) == ([b"1"], [b"2"])


async def test_the_stream_is_kept_short(redis):
    sender = publisher(redis, IMPATIENT)
    async with beside(sender.run):
        for _ in range(3):
            with pytest.raises(Unavailable):
                await sender.publish(events(*[b""] * 10_000))
    assert await redis.xlen(STREAM) < 21_000
