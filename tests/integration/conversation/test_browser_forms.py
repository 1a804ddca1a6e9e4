"""The forms for browsers: one session, another transport."""

from typing import Any

import grpc.aio
import pytest

from parley.conversation.v1 import conversation_pb2
from services.common.ids import new_id
from services.common.status import from_rpc_error
from tests.integration.conversation.conftest import OTHER_ID, Request, World


async def subscribed(world: World, **start: object) -> tuple[Any, str]:
    call = world.stub.Subscribe(
        conversation_pb2.SubscribeRequest(start=conversation_pb2.StartSession(**start)),
        metadata=world.metadata(),
    )
    first = (await call.read()).response
    return call, first.started.conversation_id


async def until(call: Any, kind: str) -> conversation_pb2.ConverseResponse:
    while (message := await call.read()) is not grpc.aio.EOF:
        if message.response.HasField(kind):
            return message.response
    raise AssertionError(f"the stream ended before {kind}")


async def push(world: World, conversation_id: str, *requests: Request) -> int:
    message = conversation_pb2.PushRequest(conversation_id=conversation_id, requests=requests)
    return (await world.stub.Push(message, metadata=world.metadata())).last_seq


async def test_pushed_batches_are_put_in_order_and_repeats_are_ignored(world: World):
    call, conversation_id = await subscribed(world)
    engine = await world.ai.session()
    frames = [
        Request(seq=seq, audio={"pcm": bytes([seq, 0]) * 320, "first_sample": (seq - 1) * 320})
        for seq in range(1, 5)
    ]
    assert await push(world, conversation_id, *frames[2:]) == 0
    assert await push(world, conversation_id, *frames[:2]) == 4
    assert await push(world, conversation_id, *frames[:2]) == 4
    assert await push(world, conversation_id, Request(seq=5, text={"text": "Hello"})) == 5
    await until(call, "turn_saved")
    assert bytes(engine.audio) == b"".join(bytes([seq, 0]) * 320 for seq in range(1, 5))
    await push(world, conversation_id, Request(seq=6, finish={}))
    await until(call, "ended")
    assert await call.read() is grpc.aio.EOF


async def test_an_upload_is_the_learners_side(world: World):
    call, conversation_id = await subscribed(world)
    upload = world.stub.Upload(metadata=world.metadata())
    await upload.write(
        conversation_pb2.UploadRequest(
            conversation_id=conversation_id, request=Request(seq=1, audio={"pcm": bytes(640)})
        )
    )
    await upload.write(
        conversation_pb2.UploadRequest(request=Request(seq=2, text={"text": "Hello"}))
    )
    await until(call, "turn_saved")
    await upload.done_writing()
    assert (await upload).last_seq == 2
    call.cancel()


async def test_a_push_too_far_ahead_or_to_another_users_session_is_refused(world: World):
    call, conversation_id = await subscribed(world)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await push(world, conversation_id, Request(seq=1000, ping={}))
    assert from_rpc_error(caught.value).reason == "SEQUENCE_GAP"
    message = conversation_pb2.PushRequest(
        conversation_id=conversation_id, requests=[Request(seq=1, ping={})]
    )
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await world.stub.Push(message, metadata=world.metadata(OTHER_ID))
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    assert from_rpc_error(caught.value).reason == "NO_LIVE_SESSION"
    call.cancel()


async def test_only_the_sign_in_that_holds_a_session_speaks_in_it_and_its_handle_moves_it(
    world: World,
):
    """The token of a device that was signed out must not reach the talk of another."""
    here, elsewhere = (
        (("authorization", f"Bearer {world.token(session_id=new_id())}"),) for _ in range(2)
    )

    async def said(metadata: Any, seq: int) -> str | int:
        ping = Request(seq=seq, ping={})
        message = conversation_pb2.PushRequest(conversation_id=conversation_id, requests=[ping])
        upload = world.stub.Upload(metadata=metadata)
        try:
            last_seq: int = (await world.stub.Push(message, metadata=metadata)).last_seq
        except grpc.aio.AioRpcError as error:
            pushed = from_rpc_error(error).reason
        else:
            upload.cancel()
            return last_seq
        first = conversation_pb2.UploadRequest(conversation_id=conversation_id, request=ping)
        await upload.write(first)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await upload
        assert from_rpc_error(caught.value).reason == pushed
        return pushed

    start = conversation_pb2.StartSession()
    call = world.stub.Subscribe(conversation_pb2.SubscribeRequest(start=start), metadata=here)
    started = (await call.read()).response.started
    conversation_id = started.conversation_id
    assert await said(elsewhere, 1) == "NO_LIVE_SESSION"
    assert await said(here, 1) == 1
    start.resume_handle = started.resume_handle
    resumed = world.stub.Subscribe(
        conversation_pb2.SubscribeRequest(start=start, seq=2), metadata=elsewhere
    )
    await resumed.read()
    assert await said(elsewhere, 3) == 3
    assert await said(here, 4) == "NO_LIVE_SESSION"
    call.cancel()
    resumed.cancel()


async def test_scenarios_are_listed_and_the_first_is_the_default(world: World):
    listed = await world.stub.ListScenarios(
        conversation_pb2.ListScenariosRequest(), metadata=world.metadata()
    )
    assert len(listed.scenarios) >= 8
    assert listed.scenarios[0].scenario_id == "free-talk"
