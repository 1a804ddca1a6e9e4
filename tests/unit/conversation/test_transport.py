"""Joining a connection with a transport: the heartbeat, and how each side's end ends the other."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from parley.conversation.v1 import conversation_pb2
from services.common.errors import Aborted
from services.conversation import transport
from services.conversation.connection import Connection
from services.conversation.live import LiveSession
from services.conversation.responses import Response, Responses
from services.conversation.transport import carry


class Live:
    """A session that only notes what is done to it."""

    def __init__(self) -> None:
        self.done: list[str] = []

    def detach(self, connection: Connection) -> None:
        self.done.append("detached")

    def client_done(self, connection: Connection) -> None:
        self.done.append("client done")


class Line:
    """One transport over one session."""

    def __init__(self) -> None:
        self.live = Live()
        self.responses = Responses(100)
        self.connection = Connection(self.responses, [])
        self.written: list[Response] = []
        self.stuck = False

    async def write(self, response: Response) -> None:
        self.written.append(response)
        if self.stuck:
            await asyncio.Event().wait()

    def carry(self, reading: Any = None, heartbeat_s: float = 60.0) -> asyncio.Task[None]:
        live = cast("LiveSession", self.live)
        return asyncio.create_task(
            carry(live, self.connection, self.write, reading, heartbeat_s=heartbeat_s)
        )

    async def until(self, count: int) -> None:
        async with asyncio.timeout(5):
            while len(self.written) < count:
                await asyncio.sleep(0.001)


def started() -> Response:
    return Response(started=conversation_pb2.SessionStarted())


async def forever() -> None:
    await asyncio.Event().wait()


async def test_a_silent_stream_has_a_heartbeat_that_counts_for_nothing():
    line = Line()
    task = line.carry(heartbeat_s=0.01)
    await line.until(3)
    assert all(each.HasField("pong") and each.seq == 0 for each in line.written)
    assert line.responses.since(0) == []
    line.responses.close()
    await task


async def test_a_stream_on_which_something_moves_needs_none(monkeypatch: pytest.MonkeyPatch):
    line = Line()
    task = line.carry(heartbeat_s=0.2)
    for count in range(1, 41):
        line.responses.put(started())
        await line.until(count)
        await asyncio.sleep(0.01)
    assert not any(each.HasField("pong") for each in line.written)
    line.responses.close()
    await task


async def test_a_client_that_does_not_read_gets_one_heartbeat_at_most():
    line = Line()
    line.stuck = True
    task = line.carry(heartbeat_s=0.005)
    await line.until(1)
    await asyncio.sleep(0.05)
    assert len(line.connection._first) <= 1
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_the_end_of_the_responses_is_the_end_and_an_error_is_raised():
    line = Line()
    task = line.carry(forever())
    line.responses.close(Aborted("over", reason="TAKEN_OVER"))
    with pytest.raises(Aborted):
        await task
    assert line.live.done == ["detached"]


async def test_a_reader_that_breaks_ends_the_connection_with_what_broke_it():
    line = Line()

    async def broken() -> None:
        raise ConnectionResetError("gone")

    with pytest.raises(ConnectionResetError):
        await line.carry(broken())
    assert line.live.done == ["detached"]


async def test_a_client_that_has_finished_still_reads(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(transport, "_CUT_IS_KNOWN_S", 0.0)
    line = Line()

    async def closed() -> None:
        return None

    task = line.carry(closed())
    async with asyncio.timeout(5):
        while not line.live.done:
            await asyncio.sleep(0.001)
    assert line.live.done == ["client done"]
    line.responses.put(started())
    await line.until(1)
    line.responses.close()
    await task


async def test_a_client_that_takes_nothing_more_is_cut_off(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(transport, "_LAST_WRITE_S", 0.01)
    line = Line()
    line.stuck = True
    line.responses.put(started())
    task = line.carry(forever())
    await line.until(1)
    line.connection.abort(Aborted("too slow", reason="TAKEN_OVER"))
    with pytest.raises(asyncio.CancelledError):
        await task
