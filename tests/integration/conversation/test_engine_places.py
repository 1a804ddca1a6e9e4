"""An engine carries only so many talks: one that is over gives its place to the next."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import grpc.aio
import pytest

from parley.conversation.v1 import conversation_pb2
from services.common.status import from_rpc_error
from tests.integration.conversation.conftest import Request, World

PLACES = 1
TALKS = 4


async def native(world: World) -> None:
    """Hold a whole talk over one stream each way."""
    talk = world.talk()
    await talk.start()
    await talk.send(text={"text": "Hello"})
    await talk.until("turn_saved")
    await talk.send(finish={})
    await talk.until("ended")


async def pushed(world: World) -> None:
    """Hold a whole talk as a browser does."""
    call: Any = world.stub.Subscribe(
        conversation_pb2.SubscribeRequest(start=conversation_pb2.StartSession()),
        metadata=world.metadata(),
    )

    async def until(kind: str) -> conversation_pb2.ConverseResponse:
        async with asyncio.timeout(20):
            while (message := await call.read()) is not grpc.aio.EOF:
                if message.response.HasField(kind):
                    return message.response
        raise AssertionError(f"the stream ended before {kind}: {await call.details()}")

    async def push(request: Request) -> None:
        message = conversation_pb2.PushRequest(conversation_id=conversation_id, requests=[request])
        await world.stub.Push(message, metadata=world.metadata())

    conversation_id = (await until("started")).started.conversation_id
    await push(Request(seq=1, text={"text": "Hello"}))
    await until("turn_saved")
    await push(Request(seq=2, finish={}))
    await until("ended")


@pytest.mark.parametrize("hold", [native, pushed])
async def test_one_talk_after_another_fits_into_one_place(
    world: World, hold: Callable[[World], Awaitable[None]]
) -> None:
    world.ai.places = PLACES
    for _ in range(TALKS):
        await hold(world)
    assert world.ai.refused == 0


async def test_storing_the_recording_takes_no_engine(world: World) -> None:
    """The place was kept until the media service had the recording."""
    world.media.encoding.clear()
    talk = world.talk()
    await talk.start()
    await talk.send(text={"text": "Hello"})
    await talk.until("turn_saved")
    await talk.send(finish={})
    await talk.until("ended")
    async with asyncio.timeout(10):
        while world.ai.live:
            await asyncio.sleep(0.01)
    world.media.encoding.set()


async def test_the_place_of_a_lost_client_is_free_once_it_can_come_back_no_more(
    empty_world: World,
) -> None:
    world = empty_world
    world.ai.places = PLACES
    await world.start(resume_seconds=0.5)
    lost = world.talk()
    started = await lost.start()
    lost.call.cancel()
    early = world.talk()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await early.start()
    assert from_rpc_error(caught.value).reason == "AT_CAPACITY"
    await world.history.wait_for(started.conversation_id, "ended")
    await native(world)
