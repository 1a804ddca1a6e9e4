"""Events leave the process at least once, in order within an aggregate, whatever fails."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from typing import Any

import grpc
import grpc.aio
import pytest
from sqlalchemy import delete, select
from sqlalchemy.orm import DeclarativeBase

from services.common.clock import ManualClock
from services.common.database import Database
from services.common.errors import Internal, ParleyError, Unavailable
from services.common.outbox import Outbox, OutboxEvent, OutboxMixin
from services.common.outbox_backlog import Backlog
from services.common.outbox_relay import OutboxRelay, RelayPolicy
from services.common.status import from_rpc_error


class Base(DeclarativeBase):
    pass


class Row(OutboxMixin, Base):
    __tablename__ = "outbox"


POLICY = RelayPolicy(batch=3, first_backoff_seconds=1.0, max_backoff_seconds=8.0)


class Receiver:
    """Takes what is published; refuses what it was told to refuse."""

    def __init__(self) -> None:
        self.got: list[tuple[str, bytes]] = []
        self.refuse: set[str] = set()
        self.calls = 0
        self.error: Exception = Unavailable("away", reason="PEER_UNAVAILABLE")

    async def publish(self, events: Sequence[OutboxEvent]) -> None:
        self.calls += 1
        assert len({event.aggregate_id for event in events}) == 1
        if events[0].aggregate_id in self.refuse:
            raise self.error
        self.got += [(event.aggregate_id, event.payload) for event in events]


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    async with Database.open(database_url) as database:
        async with database.engine.begin() as connection:
            await connection.run_sync(Base.metadata.create_all)
        yield database


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def receiver() -> Receiver:
    return Receiver()


@pytest.fixture
def outbox(clock: ManualClock) -> Outbox[Row]:
    return Outbox(Row, clock)


@pytest.fixture
def relay(database, outbox, receiver, clock) -> OutboxRelay[Row]:
    # No jitter: waits are their full length.
    return OutboxRelay(database, outbox, receiver.publish, clock, POLICY, jitter=lambda: 1.0)


async def write(database: Database, outbox: Outbox[Row], *events: tuple[str, bytes]) -> None:
    async with database.transaction() as session:
        for aggregate, payload in events:
            await outbox.append(session, OutboxEvent(aggregate, "said", payload))


async def test_nothing_is_sent_of_a_transaction_that_fails(database, outbox, relay, receiver):
    with pytest.raises(ValueError, match="no"):
        async with database.transaction() as session:
            await outbox.append(session, OutboxEvent("a", "said", b"1"))
            raise ValueError("no")
    assert await relay.run_once() == 0
    assert receiver.got == []


async def test_sequences_count_from_one_in_each_aggregate(database, outbox):
    await write(database, outbox, ("a", b"1"), ("b", b"1"), ("a", b"2"))
    await write(database, outbox, ("a", b"3"))
    async with database.snapshot() as session:
        rows = (await session.scalars(select(Row).order_by(Row.position))).all()
    assert [(r.aggregate_id, r.sequence) for r in rows] == [("a", 1), ("b", 1), ("a", 2), ("a", 3)]


async def test_order_is_kept_within_an_aggregate_across_batches(database, outbox, relay, receiver):
    await write(database, outbox, *(("a", bytes([i])) for i in range(10)))
    while await relay.run_once():
        pass
    assert [payload for _, payload in receiver.got] == [bytes([i]) for i in range(10)]
    assert await relay.pending() == 0


async def test_what_was_handed_over_leaves_no_copy(database, outbox, relay):
    """Speech that a learner deleted elsewhere used to lie here for another day."""
    await write(database, outbox, ("a", b"a secret"))
    await relay.run_once()
    async with database.snapshot() as session:
        (row,) = (await session.scalars(select(Row))).all()
    assert (row.payload, row.published_at is None) == (b"", False)


@pytest.mark.parametrize("arrives", [True, False], ids=["taken", "refused"])
async def test_what_takes_the_place_of_an_erased_event_is_sent_too(
    database, outbox, receiver, clock, arrives
):
    """`make fuzz FUZZ_SEED=2` lost a neighbour's turn.

    An account was erased while one of its events was on its way. The next row, another learner's,
    got the erased one's position, and was noted as sent in its place.
    """

    async def publish(events: Sequence[OutboxEvent]) -> None:
        if events[0].aggregate_id == "erased":
            async with database.transaction() as session:
                await session.execute(delete(Row).where(Row.aggregate_id == "erased"))
            await write(database, outbox, ("neighbour", b"1"))
            if not arrives:
                raise Unavailable("away", reason="PEER_UNAVAILABLE")
        await receiver.publish(events)

    relay = OutboxRelay(database, outbox, publish, clock, POLICY, jitter=lambda: 1.0)
    await write(database, outbox, ("erased", b"1"))
    await relay.run_once()
    await relay.run_once()
    assert receiver.got[-1:] == [("neighbour", b"1")]


async def test_a_failing_aggregate_holds_up_only_itself(database, outbox, relay, receiver, clock):
    await write(database, outbox, ("a", b"1"), ("b", b"1"), ("a", b"2"), ("b", b"2"))
    receiver.refuse = {"a"}
    await relay.run_once()
    assert receiver.got == [("b", b"1"), ("b", b"2")]
    await write(database, outbox, ("a", b"3"))
    assert await relay.run_once() == 0, "nothing of a may overtake its failed first event"
    receiver.refuse = set()
    await clock.advance(1.1)
    await relay.run_once()
    assert receiver.got[2:] == [("a", b"1"), ("a", b"2"), ("a", b"3")]


async def test_backoff_doubles_up_to_its_most(database, outbox, relay, receiver, clock):
    await write(database, outbox, ("a", b"1"))
    receiver.refuse = {"a"}
    waits = []
    for _ in range(6):
        await relay.run_once()
        async with database.snapshot() as session:
            row = (await session.scalars(select(Row))).one()
        waits.append((row.next_attempt_at - clock.now()).total_seconds())
        await clock.advance(waits[-1])
    assert waits == [1, 2, 4, 8, 8, 8]


async def test_a_peers_retry_advice_is_followed(database, outbox, relay, receiver, clock):
    await write(database, outbox, ("a", b"1"))
    receiver.refuse = {"a"}
    receiver.error = Unavailable("full", reason="PEER_UNAVAILABLE", retry_after=5.0)
    await relay.run_once()
    await clock.advance(4.9)
    await relay.run_once()
    assert receiver.calls == 1
    await clock.advance(0.2)
    await relay.run_once()
    assert receiver.calls == 2


async def test_any_exception_of_the_publisher_is_a_failed_attempt(
    database, outbox, relay, receiver
):
    await write(database, outbox, ("a", b"1"))
    receiver.refuse, receiver.error = {"a"}, ValueError("bug")
    assert await relay.run_once() == 0
    assert await relay.pending() == 1


async def until(condition: Any) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.001)


async def test_notify_sends_at_once(database, outbox, relay, receiver, clock):
    running = asyncio.create_task(relay.run())
    await until(lambda: clock.sleeping)  # it found nothing and waits
    await write(database, outbox, ("a", b"1"))
    relay.notify()
    await until(lambda: receiver.got)  # the clock never moved
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_what_was_committed_without_a_notify_is_found_by_polling(
    database, outbox, relay, receiver, clock
):
    running = asyncio.create_task(relay.run())
    await until(lambda: clock.sleeping)
    await write(database, outbox, ("a", b"1"))
    await clock.advance(POLICY.poll_seconds)
    await until(lambda: receiver.got)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_retry_comes_when_it_is_due_not_at_the_next_poll(
    database, outbox, relay, receiver, clock
):
    await write(database, outbox, ("a", b"1"))
    receiver.refuse = {"a"}
    running = asyncio.create_task(relay.run())
    await until(lambda: receiver.calls == 1 and clock.sleeping)
    receiver.refuse = set()
    await clock.advance(1.0)
    await until(lambda: receiver.got)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_cancelled_while_sending_the_event_is_sent_again(database, outbox, receiver, clock):
    sending = asyncio.Event()

    async def hang(events: Sequence[OutboxEvent]) -> None:
        sending.set()
        await asyncio.Event().wait()

    await write(database, outbox, ("a", b"1"))
    first = OutboxRelay(database, outbox, hang, clock, POLICY)
    running = asyncio.create_task(first.run())
    await sending.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    second = OutboxRelay(database, outbox, receiver.publish, clock, POLICY)
    await second.run_once()
    assert receiver.got == [("a", b"1")]


async def test_pruning_keeps_the_unsent_and_the_count(database, outbox, relay, receiver, clock):
    await write(database, outbox, ("a", b"1"), ("a", b"2"))
    await relay.run_once()
    await clock.advance(POLICY.keep_published_seconds + 1)
    await write(database, outbox, ("b", b"1"))
    assert await relay.prune() == 1, "the newest of an aggregate stays"
    await write(database, outbox, ("a", b"3"))
    async with database.snapshot() as session:
        last = (await session.scalars(select(Row).where(Row.payload == b"3"))).one()
    assert last.sequence == 3


async def test_the_relay_prunes_by_itself(database, outbox, relay, clock):
    await write(database, outbox, ("a", b"1"), ("a", b"2"))
    await relay.run_once()
    await clock.advance(POLICY.keep_published_seconds + 1)
    running = asyncio.create_task(relay.run())
    await until(lambda: clock.sleeping)
    async with database.snapshot() as session:
        assert len((await session.scalars(select(Row))).all()) == 1
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_no_more_than_the_allowed_aggregates_are_sent_at_once(database, outbox, clock):
    now, most = 0, 0

    async def count(events: Sequence[OutboxEvent]) -> None:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0)
        now -= 1

    await write(database, outbox, *((f"a{i}", b"x") for i in range(12)))
    policy = replace(POLICY, batch=50, concurrency=4)
    await OutboxRelay(database, outbox, count, clock, policy).run_once()
    assert most == 4


# --- events that are at fault themselves ------------------------------------------------------


def lost() -> ParleyError:
    """What a call fails with whose receiver ended under it."""
    cause = grpc.aio.AioRpcError(
        grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), grpc.aio.Metadata(), "Socket closed"
    )
    error = from_rpc_error(cause, "history")
    error.__cause__ = cause
    return error


async def test_what_nobody_foresaw_in_reading_or_noting_ends_no_relay(
    database, outbox, receiver, clock, monkeypatch
):
    """It would take its service down, with every talk in it."""
    relay = OutboxRelay(database, outbox, receiver.publish, clock, POLICY, jitter=lambda: 1.0)
    await write(database, outbox, ("a", b"1"), ("b", b"2"))
    for what in ("due", "note_sent"):
        real, failed = getattr(Backlog, what), asyncio.Event()

        async def fails(*_args: Any, failed: asyncio.Event = failed) -> None:
            failed.set()
            raise ValueError("a bug")

        with monkeypatch.context() as patched:
            patched.setattr(Backlog, what, fails)
            running = asyncio.create_task(relay.run())
            await asyncio.wait_for(failed.wait(), 10)
            await asyncio.sleep(0.05)
            assert not running.done()
            patched.setattr(Backlog, what, real)
            async with asyncio.timeout(10):
                while await relay.pending():
                    await clock.advance(1.0)
                    await asyncio.sleep(0.01)
        running.cancel()
        await asyncio.wait({running})
        await write(database, outbox, ("a", b"3"))
    assert receiver.got[:2] == [("a", b"1"), ("b", b"2")]


def away() -> ParleyError:
    return Unavailable("away", reason="PEER_UNAVAILABLE", retry_after=1.0)


class Mortal:
    """A receiver whom some payloads fail or end; for a while it is away then, if it is `frail`."""

    def __init__(self, fault: Callable[[], Exception]) -> None:
        self.fault = fault
        self.poison = {b"poison"}
        self.frail = False
        self.gone = False
        self.got: list[bytes] = []
        self.calls: list[list[bytes]] = []

    async def publish(self, events: Sequence[OutboxEvent]) -> None:
        payloads = [event.payload for event in events]
        self.calls.append(payloads)
        if self.gone:
            raise away()
        await asyncio.sleep(0)
        if self.poison & set(payloads):
            self.gone = self.frail
            raise self.fault()
        if self.gone:
            # It ended under this call, because of another.
            raise self.fault()
        self.got += payloads


def mortal_relay(
    database: Database, outbox: Outbox[Row], mortal: Mortal, clock: ManualClock, together: bool
) -> OutboxRelay[Row]:
    policy = replace(POLICY, batch=10, together=together)
    return OutboxRelay(database, outbox, mortal.publish, clock, policy, jitter=lambda: 1.0)


async def refused(database: Database) -> list[tuple[bytes, str]]:
    async with database.snapshot() as session:
        rows = await session.scalars(select(Row).where(Row.refused_at.is_not(None)))
        return [(row.payload, row.refusal) for row in rows]


@pytest.mark.parametrize("together", [False, True], ids=["singly", "together"])
async def test_an_event_that_fails_its_receiver_five_times_is_laid_aside_and_the_rest_goes_on(
    database, outbox, clock, together
):
    """It was tried for ever, and nothing more of its talk was ever sent."""
    mortal = Mortal(lambda: Internal("a bug", reason="INTERNAL"))
    relay = mortal_relay(database, outbox, mortal, clock, together)
    await write(database, outbox, ("a", b"1"), ("a", b"poison"), ("a", b"2"), ("b", b"3"))
    for _ in range(4):
        await relay.run_once()
        await clock.advance(31)
    # Nobody but what is behind it has waited.
    assert (sorted(mortal.got), await refused(database)) == ([b"1", b"3"], [])
    for _ in range(2):
        await relay.run_once()
    assert mortal.got[-1] == b"2"
    assert await refused(database) == [(b"poison", "INTERNAL: INTERNAL, 5 times")]
    assert await relay.pending() == 0
    assert mortal.calls.count([b"poison"]) == 5


@pytest.mark.parametrize("together", [False, True], ids=["singly", "together"])
async def test_an_event_that_ends_its_receiver_is_laid_aside_and_no_neighbour_of_it(
    database, outbox, clock, together
):
    """Those on their way beside it are lost with it, and are at no fault."""
    mortal = Mortal(lost)
    mortal.frail = True
    relay = mortal_relay(database, outbox, mortal, clock, together)
    await write(database, outbox, ("a", b"poison"), ("b", b"1"), ("c", b"1"), ("a", b"2"))
    for number in range(8):
        await write(database, outbox, (f"talk {number}", b"other"))
        # As often as it is started again.
        for _ in range(3):
            await relay.run_once()
            mortal.gone = False
            await clock.advance(31)
    ((payload, why),) = await refused(database)
    assert (payload, why.split(":")[0]) == (b"poison", "INTERNAL")
    assert sorted(mortal.got) == sorted([b"1", b"1", b"2", *[b"other"] * 8])
    assert await relay.pending() == 0


@pytest.mark.parametrize("error", [lost, away], ids=["its line breaks", "it is away"])
async def test_a_receiver_that_nothing_reaches_is_no_events_fault(database, outbox, clock, error):
    mortal = Mortal(error)
    mortal.poison = {b"1", b"2", b"3"}
    relay = mortal_relay(database, outbox, mortal, clock, together=True)
    await write(database, outbox, ("a", b"1"), ("a", b"2"), ("b", b"3"))
    for _ in range(20):
        await relay.run_once()
        await clock.advance(31)
    assert (mortal.got, await refused(database)) == ([], [])
    mortal.poison = set()
    while await relay.pending():
        await clock.advance(31)
        await relay.run_once()
    assert [each for each in mortal.got if each != b"3"] == [b"1", b"2"]
    assert await refused(database) == []


async def test_absences_between_are_not_counted(database, outbox, clock):
    mortal = Mortal(lambda: ValueError("a bug"))
    relay = mortal_relay(database, outbox, mortal, clock, together=False)
    await write(database, outbox, ("a", b"poison"))
    for number in range(8):
        mortal.gone = bool(number % 2)
        await relay.run_once()
        await clock.advance(31)
    assert await refused(database) == []
    mortal.gone = False
    await relay.run_once()
    assert await refused(database) == [(b"poison", "INTERNAL: ValueError, 5 times")]


# --- several aggregates in one call -------------------------------------------------------------

TOGETHER = replace(POLICY, together=True, pause_seconds=0.5)


class Gathering(Receiver):
    """Takes events of several aggregates in one call, or refuses the whole call."""

    async def publish(self, events: Sequence[OutboxEvent]) -> None:
        self.calls += 1
        if self.refuse & {event.aggregate_id for event in events}:
            raise self.error
        self.got += [(event.aggregate_id, event.payload) for event in events]


@pytest.fixture
def gathering() -> Gathering:
    return Gathering()


@pytest.fixture
def relay_together(database, outbox, gathering, clock) -> OutboxRelay[Row]:
    return OutboxRelay(database, outbox, gathering.publish, clock, TOGETHER, jitter=lambda: 1.0)


async def test_events_of_several_aggregates_go_in_one_call(
    database, outbox, relay_together, gathering
):
    await write(database, outbox, ("a", b"1"), ("b", b"1"), ("a", b"2"))
    assert await relay_together.run_once() == 3
    assert gathering.calls == 1
    assert gathering.got == [("a", b"1"), ("a", b"2"), ("b", b"1")]
    assert await relay_together.pending() == 0


async def test_one_call_holds_a_batch_at_most_and_the_rest_follows_in_order(
    database, outbox, relay_together, gathering
):
    await write(database, outbox, *((name, bytes([i])) for i in range(3) for name in "ab"))
    assert await relay_together.run_once() == 3
    while await relay_together.run_once():
        pass
    for name in "ab":
        payloads = [payload for aggregate, payload in gathering.got if aggregate == name]
        assert payloads == [b"\0", b"\1", b"\2"]


async def test_what_is_refused_together_holds_up_only_its_own_aggregate(
    database, outbox, relay_together, gathering, clock
):
    await write(database, outbox, ("a", b"1"), ("b", b"1"), ("c", b"1"))
    gathering.refuse = {"b"}
    await relay_together.run_once()
    assert sorted(gathering.got) == [("a", b"1"), ("c", b"1")]
    gathering.refuse = set()
    assert await relay_together.run_once() == 0
    await clock.advance(1.0)
    assert await relay_together.run_once() == 1
    assert gathering.got[-1] == ("b", b"1")


async def test_a_backlog_keeps_no_other_aggregate_waiting(database, outbox, relay, receiver):
    await write(database, outbox, *(("a", bytes([i])) for i in range(10)), ("b", b"1"))
    await relay.run_once()
    assert ("b", b"1") in receiver.got


async def test_what_comes_during_the_pause_goes_together_after_it(
    database, outbox, relay_together, gathering, clock
):
    running = asyncio.create_task(relay_together.run())
    try:
        await write(database, outbox, ("a", b"1"))
        relay_together.notify()
        await until(lambda: gathering.calls == 1)
        await write(database, outbox, ("b", b"1"))
        relay_together.notify()
        await write(database, outbox, ("c", b"1"))
        relay_together.notify()
        await until(lambda: clock.sleeping)
        assert gathering.calls == 1
        await clock.advance(0.5)
        await until(lambda: len(gathering.got) == 3)
        assert gathering.calls == 2
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
