"""An absent receiver is told from one that ended under a call, over real connections."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import pytest

from services.common.channel import channel_options
from services.common.doubts import Doubts, Fault, fault_of
from services.common.errors import Internal, InvalidArgument, ParleyError, Unavailable
from services.common.status import DETAILS_KEY, rpc_errors, to_status
from tests.fault.line import Line, line

METHOD = "/parley.test.v1.Test/Take"


class Receiver:
    """A service that takes bytes, and tells what it was told to tell of them."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.error: ParleyError | None = None

    async def take(self, _request: bytes, context: Any) -> bytes:
        self.reached.set()
        if self.error is not None:
            details = to_status(self.error).SerializeToString()
            code = grpc.StatusCode.UNAVAILABLE
            await context.abort(code, "", ((DETAILS_KEY, details),))
        await asyncio.Event().wait()
        return b""


@asynccontextmanager
async def served() -> AsyncIterator[tuple[Receiver, Line, Any]]:
    receiver = Receiver()
    handler: Any = grpc.unary_unary_rpc_method_handler(receiver.take)
    server = grpc.aio.server()
    handlers = grpc.method_handlers_generic_handler("parley.test.v1.Test", {"Take": handler})
    server.add_generic_rpc_handlers((handlers,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with line(port) as (cable, at):
        target = f"127.0.0.1:{at}"
        async with grpc.aio.insecure_channel(target, options=channel_options()) as channel:
            yield receiver, cable, channel.unary_unary(METHOD)
    await server.stop(None)


async def failure(take: Any) -> ParleyError:
    with pytest.raises(ParleyError) as caught, rpc_errors("test"):
        await take(b"", timeout=20)
    return caught.value


async def test_a_receiver_that_ends_under_a_call_is_lost_and_one_that_is_away_is_not():
    async with served() as (receiver, cable, take):
        calling = asyncio.create_task(failure(take))
        await receiver.reached.wait()
        cable.down()
        assert fault_of(await calling) is Fault.LOST
        # The next one may still set out on the connection that broke.
        while fault_of(await failure(take)) is Fault.LOST:
            pass
        assert fault_of(await failure(take)) is Fault.NOT_NOW


async def test_what_a_receiver_says_itself_is_no_loss():
    async with served() as (receiver, _, take):
        receiver.error = Unavailable("later", reason="PEER_UNAVAILABLE")
        assert fault_of(await failure(take)) is Fault.NOT_NOW


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (Internal("a bug", reason="INTERNAL"), Fault.EVENTS),
        (ValueError("ours"), Fault.EVENTS),
        (OSError("the machine's"), Fault.NOT_NOW),
        (Unavailable("its disk is full", reason="DATABASE_UNAVAILABLE"), Fault.NOT_NOW),
        (InvalidArgument("an older version", reason="UNHEARD_OF"), Fault.NOT_NOW),
    ],
)
def test_whose_fault_a_failure_is(error, fault):
    assert fault_of(error) is fault


def test_no_more_are_remembered_than_there_is_room_for():
    doubts = Doubts(5)
    doubts.add(str(number) for number in range(10_001))
    assert "0" not in doubts
    assert "10000" in doubts
