"""Turns on their way to storage: in order, once, and never in the way."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial

import pytest

from parley.types.v1 import turn_pb2
from services.common.clock import ManualClock
from services.common.errors import Unavailable
from services.common.ids import new_id
from services.conversation import journal as journal_module
from services.conversation.events import KeepTurn
from services.conversation.journal import MAX_PENDING, Entry, Journal, TurnFinished, TurnKept

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Disk:
    """A store that fails when it is told to."""

    def __init__(self) -> None:
        self.failing = False
        self.poison: set[str] = set()
        self.written: list[Entry] = []
        self.transactions = 0

    async def write(self, entries: Sequence[Entry]) -> None:
        await asyncio.sleep(0)
        if self.failing or any(entry.conversation_id in self.poison for entry in entries):
            raise OSError("no space left")
        self.transactions += 1
        self.written.extend(entries)

    def numbers(self, conversation_id: str) -> list[int]:
        return [
            each.turn.number
            for each in self.written
            if isinstance(each, TurnFinished) and each.conversation_id == conversation_id
        ]


def turn(conversation_id: str, number: int) -> TurnFinished:
    return TurnFinished(
        conversation_id, "user", turn_pb2.Turn(turn_id=new_id(), number=number), NOW
    )


@asynccontextmanager
async def running(journal: Journal) -> AsyncIterator[None]:
    task = asyncio.create_task(journal.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_what_waits_together_is_written_together_and_told():
    disk, clock, notified = Disk(), ManualClock(), []
    journal = Journal(disk, clock, lambda: notified.append(1))
    told: list[int] = []
    for number in range(1, 6):
        journal.submit(turn("a", number), done=partial(told.append, number))
    async with running(journal):
        await journal.settled("a")
    assert told == [1, 2, 3, 4, 5]
    assert disk.transactions == 1
    assert notified == [1]


async def test_failing_storage_is_tried_again_in_order_until_it_works():
    disk, clock = Disk(), ManualClock()
    disk.failing = True
    journal = Journal(disk, clock, lambda: None)
    failures: list[int] = []
    async with running(journal):
        journal.submit(turn("a", 1), failed=lambda: failures.append(1))
        await clock.advance(1.0)
        journal.submit(turn("a", 2))
        await clock.advance(1.0)
        assert disk.written == []
        assert failures
        disk.failing = False
        await clock.advance(6.0)
        await journal.settled("a")
    assert disk.numbers("a") == [1, 2]


async def test_an_entry_that_cannot_be_written_holds_back_its_own_conversation_only():
    disk, clock = Disk(), ManualClock()
    disk.poison = {"bad"}
    journal = Journal(disk, clock, lambda: None)
    async with running(journal):
        for number in range(1, 4):
            journal.submit(turn("bad", number))
            journal.submit(turn("good", number))
        await clock.advance(30.0)
        assert disk.numbers("good") == [1, 2, 3]
        assert journal.pending("bad") == 3
        disk.poison = set()
        await clock.advance(30.0)
    assert disk.numbers("bad") == [1, 2, 3]


async def test_nobody_is_told_of_a_failure_that_is_anothers():
    """A neighbour's turn was stored, and the learner told that it could not be."""
    disk, clock = Disk(), ManualClock()
    disk.poison.add("bad")
    journal = Journal(disk, clock, lambda: None)
    failed: list[str] = []
    for name in ("good", "bad", "other"):
        journal.submit(turn(name, 1), failed=partial(failed.append, name))
    async with running(journal):
        await journal.settled("good")
        await journal.settled("other")
        assert failed == ["bad"]
        disk.poison.clear()
        await clock.advance(60)
        await journal.settled("bad")


async def test_while_the_store_is_away_everybody_is_told_after_the_first_try():
    """Each try may take seconds to fail, and learners were told one after another."""
    tries = asyncio.Queue[None]()
    away = asyncio.Event()

    class Slow:
        async def write(self, entries: Sequence[Entry]) -> None:
            tries.put_nowait(None)
            await away.wait()
            raise Unavailable("It is away.", reason="DATABASE_UNAVAILABLE")

    journal = Journal(Slow(), ManualClock(), lambda: None)
    told: set[str] = set()
    # More than go into one transaction.
    names = {f"talk {number}" for number in range(100)}
    for name in names:
        journal.submit(turn(name, 1), failed=partial(told.add, name))
    async with running(journal):
        await tries.get()
        away.set()
        await until(lambda: bool(told))
        assert told == names
        assert tries.empty()


async def test_while_the_store_says_nothing_everybody_is_told(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(journal_module, "_LATE_S", 0.05)
    answers = asyncio.Event()

    class Silent(Disk):
        async def write(self, entries: Sequence[Entry]) -> None:
            await answers.wait()
            await super().write(entries)

    disk = Silent()
    journal = Journal(disk, ManualClock(), lambda: None)
    told: list[str] = []
    async with running(journal):
        for name in ("a", "b"):
            journal.submit(turn(name, 1), failed=partial(told.append, name))
        async with asyncio.timeout(10):
            while told != ["a", "b"]:
                await asyncio.sleep(0.01)
        answers.set()
        await journal.settled("a")
        await journal.settled("b")
    assert disk.numbers("a") == [1]


async def test_a_store_that_goes_away_while_the_cause_is_looked_for_is_asked_no_more():
    sizes: list[int] = []

    class Going:
        async def write(self, entries: Sequence[Entry]) -> None:
            sizes.append(len(entries))
            if len(entries) == 1:
                raise Unavailable("It is away.", reason="DATABASE_UNAVAILABLE")
            raise ValueError("one of them is wrong")

    journal = Journal(Going(), ManualClock(), lambda: None)
    told: list[str] = []
    for name in ("a", "b", "c"):
        journal.submit(turn(name, 1), failed=partial(told.append, name))
    async with running(journal):
        await until(lambda: bool(told))
        assert (told, sizes) == (["a", "b", "c"], [3, 1])


async def test_it_takes_no_more_of_one_conversation_than_it_can_keep():
    journal = Journal(Disk(), ManualClock(), lambda: None)
    assert all(journal.submit(turn("a", number)) for number in range(MAX_PENDING))
    assert not journal.submit(turn("a", MAX_PENDING))
    assert journal.submit(turn("b", 1))


async def test_what_waits_when_the_service_stops_is_written_first():
    disk = Disk()
    journal = Journal(disk, ManualClock(), lambda: None)
    async with running(journal):
        await asyncio.sleep(0)
        journal.submit(turn("a", 1))
        await asyncio.sleep(0)
    assert disk.numbers("a") == [1]


def kept(conversation_id: str, text: str) -> TurnKept:
    return TurnKept(conversation_id, KeepTurn(turn_pb2.Turn(number=1, reply_text=text)))


async def test_of_a_turn_under_way_only_the_newest_waits():
    disk, clock = Disk(), ManualClock()
    journal = Journal(disk, clock, lambda: None)
    for text in ("one", "one two", "one two three"):
        journal.keep(kept("a", text))
    journal.keep(kept("b", "four"))
    assert (journal.waiting, journal.pending("a")) == (2, 0)
    async with running(journal):
        await until(lambda: len(disk.written) == 2)
        journal.keep(kept("a", "one two three four"))
        await until(lambda: len(disk.written) == 3)
    assert [each.kept.turn.reply_text for each in disk.written if isinstance(each, TurnKept)] == [
        "one two three",
        "four",
        "one two three four",
    ]


async def test_turns_under_way_do_not_pile_up_while_storage_fails():
    """What is finished has a bound of its own, and they must not use it up."""
    disk, clock = Disk(), ManualClock()
    disk.failing = True
    journal = Journal(disk, clock, lambda: None)
    async with running(journal):
        for number in range(2 * MAX_PENDING):
            journal.keep(kept("a", str(number)))
            await clock.advance(10)
            await asyncio.sleep(0)
        assert journal.waiting <= 2
        assert journal.submit(turn("a", 1))
        disk.failing = False
        await clock.advance(10)
        await until(lambda: disk.numbers("a") == [1])
    newest = [each for each in disk.written if isinstance(each, TurnKept)][-1]
    assert newest.kept.turn.reply_text == str(2 * MAX_PENDING - 1)


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not true():
            await asyncio.sleep(0)


async def test_a_turn_that_waits_behind_one_under_way_is_told_of_too():
    """With PostgreSQL away nobody heard that nothing was saved: what was kept stood in front."""
    disk, clock = Disk(), ManualClock()
    disk.failing = True
    journal = Journal(disk, clock, lambda: None)
    failures: list[int] = []
    async with running(journal):
        journal.keep(kept("a", "Hello"))
        journal.submit(turn("a", 1), failed=lambda: failures.append(1))
        await clock.advance(1.0)
        assert failures
        disk.failing = False
        await clock.advance(6.0)
        await journal.settled("a")
