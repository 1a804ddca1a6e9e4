"""What is wrong is answered as documented, and the service goes on serving others."""

import asyncio
from dataclasses import replace

import grpc.aio
import pytest

from parley.conversation.v1 import conversation_pb2
from services.common.errors import InvalidArgument, ResourceExhausted
from services.common.limits import DEFAULT_LIMITS
from services.common.status import from_rpc_error, from_status
from tests.integration.conversation.conftest import Talk, World


async def fails(talk: Talk, code: grpc.StatusCode, reason: str) -> None:
    """Read to the end of the stream, which must end as said."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await talk.to_end()
    error = from_rpc_error(caught.value)
    assert (caught.value.code(), error.reason) == (code, reason)


async def notice(talk: Talk) -> tuple[str, int, bool]:
    found = (await talk.until("notice")).notice
    return from_status(found.status).reason, found.cause_seq, found.fatal


async def still_serves(world: World) -> None:
    talk = world.talk()
    await talk.start()
    await talk.send(text={"text": "Hello"})
    await talk.until("reply_started")
    await talk.send(finish={})
    await talk.to_end()


@pytest.mark.parametrize(
    "first", [{"audio": {"pcm": bytes(640)}}, {"text": {"text": "Hi"}}, {"finish": {}}]
)
async def test_anything_before_start_is_refused(world: World, first: dict[str, object]):
    talk = world.talk()
    await talk.send(**first)
    await fails(talk, grpc.StatusCode.FAILED_PRECONDITION, "START_REQUIRED")
    await still_serves(world)


async def test_a_client_that_says_nothing_is_not_waited_for(empty_world: World):
    await empty_world.start(replace(DEFAULT_LIMITS, start_timeout_seconds=0.2))
    talk = empty_world.talk()
    await fails(talk, grpc.StatusCode.FAILED_PRECONDITION, "START_REQUIRED")


async def test_an_unknown_scenario_is_refused(world: World):
    talk = world.talk()
    await talk.send(start={"scenario_id": "on-the-moon"})
    await fails(talk, grpc.StatusCode.INVALID_ARGUMENT, "UNKNOWN_SCENARIO")
    assert world.ai.live == 0


@pytest.mark.parametrize("reason", ["UNKNOWN_ENGINE", "UNKNOWN_VOICE"])
async def test_an_unknown_engine_or_voice_is_a_wrong_argument(world: World, reason: str):
    world.ai.error = InvalidArgument("There is none of that name.", reason=reason)
    talk = world.talk()
    await talk.send(start={"engine": "nobody", "voice": "nobody"})
    await fails(talk, grpc.StatusCode.INVALID_ARGUMENT, reason)
    world.ai.error = None
    await still_serves(world)


async def test_a_voice_of_the_profile_that_the_engine_lacks_is_left_out(world: World):
    world.user.account.voice = "of-another-engine"
    world.ai.error = InvalidArgument("No such voice.", reason="UNKNOWN_VOICE")

    opening = asyncio.create_task(still_serves(world))
    async with asyncio.timeout(10):
        while not opening.done() and world.ai.error is not None:
            await asyncio.sleep(0)
            if world.ai.refused:
                world.ai.error = None
    await opening


async def test_a_full_engine_is_told_with_a_time_to_retry(world: World):
    world.ai.error = ResourceExhausted("Full.", reason="AT_CAPACITY", retry_after=3)
    talk = world.talk()
    await talk.send(start={})
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await talk.to_end()
    error = from_rpc_error(caught.value)
    assert (error.reason, error.retry_after, error.retryable) == ("AT_CAPACITY", 3, True)


@pytest.mark.parametrize(
    "wrong",
    [{"encoding": 3}, {"sample_rate_hz": 4000}, {"channels": 2}, {"sample_rate_hz": 7999}],
)
async def test_a_format_that_live_audio_cannot_have_is_refused(world: World, wrong: dict[str, int]):
    talk = world.talk()
    await talk.send(start={"input_format": wrong})
    await fails(talk, grpc.StatusCode.INVALID_ARGUMENT, "AUDIO_FORMAT_UNSUPPORTED")


async def test_an_expired_token_is_refused_at_the_start(world: World):
    talk = world.talk(token=world.token(lifetime=-100))
    # Refused before a word is read. Nothing is written: grpcio hides a refusal that meets a write.
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await talk.read()
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert from_rpc_error(caught.value).reason == "TOKEN_EXPIRED"


async def test_bad_frames_become_notices_and_the_session_goes_on(world: World):
    talk = world.talk()
    await talk.start()
    seq = await talk.send(audio={"pcm": bytes(641)})
    assert await notice(talk) == ("AUDIO_FRAME_INVALID", seq, False)
    seq = await talk.send(audio={"pcm": bytes(6402)})
    assert await notice(talk) == ("AUDIO_FRAME_INVALID", seq, False)
    seq = await talk.send(audio={"pcm": bytes(640), "first_sample": 2**40})
    assert await notice(talk) == ("AUDIO_FRAME_INVALID", seq, False)
    seq = await talk.send(start={})
    assert await notice(talk) == ("ALREADY_STARTED", seq, False)
    await talk.send(text={"text": "Hello"})
    await talk.until("turn_saved")
    talk.call.cancel()


async def test_a_turn_is_stored_whatever_number_its_message_has(world: World):
    """Found by fuzzing: beyond what a database counts, the turn was tried again for ever."""
    talk = world.talk()
    await talk.start()
    last = conversation_pb2.ConverseRequest(seq=2**64 - 1, text={"text": "Hello"})
    await talk.call.write(last)
    await talk.until("turn_saved")
    talk.call.cancel()


async def test_a_message_that_breaks_the_contract_is_named_and_the_session_goes_on(world: World):
    talk = world.talk()
    await talk.start()
    seq = await talk.send(text={"text": ""})
    assert await notice(talk) == ("INVALID_REQUEST", seq, False)
    await talk.send(text={"text": "Hello"})
    await talk.until("turn_saved")
    talk.call.cancel()


async def test_a_huge_message_ends_its_own_stream_only(world: World):
    talk = world.talk()
    await talk.start()
    await talk.send(audio={"pcm": bytes(10 * 1024 * 1024)})
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await talk.to_end()
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    await still_serves(world)


async def test_audio_faster_than_speech_is_slowed_and_then_refused(empty_world: World):
    await empty_world.start(replace(DEFAULT_LIMITS, max_audio_ahead_ms=200))
    world = empty_world
    talk = world.talk()
    await talk.start(no_recording=True)
    reading = asyncio.create_task(fails_too_fast(talk))
    engine = await world.ai.session()
    began = asyncio.get_running_loop().time()
    for _ in range(30):
        await talk.send(audio={"pcm": bytes(6400)})
    async with asyncio.timeout(10):
        while len(engine.audio) < 6400 * 4:
            engine.audio_came.clear()
            await engine.audio_came.wait()
    # Four messages are 800 ms of sound; 200 ms may be ahead.
    assert asyncio.get_running_loop().time() - began > 0.35
    talk.call.cancel()
    await reading


async def fails_too_fast(talk: Talk) -> None:
    try:
        await talk.to_end()
    except asyncio.CancelledError:
        if not talk.call.cancelled():
            raise
