"""Batches and uploads of one session: one message at a time, each once, in order."""

from __future__ import annotations

import asyncio

import pytest

from parley.conversation.v1 import conversation_pb2
from services.common.errors import FailedPrecondition, InvalidArgument
from services.conversation.intake import Intake


def batch(*numbers: int) -> list[conversation_pb2.ConverseRequest]:
    return [conversation_pb2.ConverseRequest(seq=number) for number in numbers]


class Session:
    """Takes messages; each waits until it is let through."""

    def __init__(self) -> None:
        self.got: list[int] = []
        self.let_through = asyncio.Semaphore(0)
        self.inside = 0

    async def receive(self, message: conversation_pb2.ConverseRequest) -> None:
        self.inside += 1
        assert self.inside == 1, "two messages at a time"
        await self.let_through.acquire()
        self.got.append(message.seq)
        self.inside -= 1

    def open(self) -> None:
        for _ in range(100):
            self.let_through.release()


@pytest.fixture
def session() -> Session:
    return Session()


@pytest.fixture
def intake(session: Session) -> Intake:
    return Intake(session)


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_batch_that_comes_while_another_is_slow_does_not_overtake_it(
    session: Session, intake: Intake
):
    first = asyncio.create_task(intake.push(batch(1, 2, 3)))
    await settle()
    second = asyncio.create_task(intake.push(batch(4, 5)))
    await settle()
    session.open()
    assert await first == 5
    assert await second == 5
    assert session.got == [1, 2, 3, 4, 5]


async def test_a_call_that_is_cancelled_loses_nothing_of_its_batch(
    session: Session, intake: Intake
):
    """Its numbers count as received, so nobody would send it again."""
    call = asyncio.create_task(intake.push(batch(1, 2, 3)))
    await settle()
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    session.open()
    assert await intake.push(batch(1, 2, 3, 4)) == 4
    assert session.got == [1, 2, 3, 4]


async def test_a_repeated_batch_is_acknowledged_when_it_has_arrived(
    session: Session, intake: Intake
):
    first = asyncio.create_task(intake.push(batch(1)))
    await settle()
    again = asyncio.create_task(intake.push(batch(1)))
    await settle()
    assert not again.done()
    session.open()
    assert [await first, await again] == [1, 1]
    assert session.got == [1]


async def test_a_gap_is_acknowledged_up_to_where_nothing_is_missing(
    session: Session, intake: Intake
):
    session.open()
    assert await intake.push(batch(2, 3)) == 0
    assert await intake.push(batch(1)) == 3
    with pytest.raises(InvalidArgument):
        await intake.push(batch(1000))


async def test_another_upload_ends_the_one_before_it(intake: Intake):
    first = intake.begin_upload()
    second = intake.begin_upload()
    assert first.done()
    assert not second.done()
    intake.close()
    assert second.done()


async def test_an_upload_that_is_sent_again_is_taken_once(session: Session, intake: Intake):
    session.open()
    for number in (1, 2, 1, 2, 3):
        await intake.upload(batch(number)[0])
    assert session.got == [1, 2, 3]


async def test_the_end_of_the_session_ends_what_waits(session: Session, intake: Intake):
    call = asyncio.create_task(intake.push(batch(1, 2)))
    await settle()
    intake.close()
    with pytest.raises(FailedPrecondition):
        await call
    assert session.got == []
