"""Every limit has its documented answer."""

import asyncio
from dataclasses import replace

import grpc.aio
import pytest

from services.common.limits import DEFAULT_LIMITS
from services.common.status import from_rpc_error
from tests.integration.conversation.conftest import OTHER_ID, Talk, World


async def ends_with(talk: Talk) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await talk.to_end()
    return caught.value.code(), from_rpc_error(caught.value).reason


async def test_a_client_that_sends_nothing_for_long_is_idle(empty_world: World):
    await empty_world.start(replace(DEFAULT_LIMITS, conversation_idle_seconds=0.3))
    talk = empty_world.talk()
    await talk.start()
    assert await ends_with(talk) == (grpc.StatusCode.DEADLINE_EXCEEDED, "CONVERSATION_IDLE")
    assert talk.of_kind("notice")[0].fatal
    assert talk.of_kind("ended")


async def test_a_session_that_lasts_too_long_ends(empty_world: World):
    await empty_world.start(replace(DEFAULT_LIMITS, conversation_max_seconds=0.3))
    talk = empty_world.talk()
    await talk.start()
    assert await ends_with(talk) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "CONVERSATION_TOO_LONG")


async def test_one_learner_has_so_many_sessions_and_the_process_so_many(empty_world: World):
    world = empty_world
    await world.start(replace(DEFAULT_LIMITS, conversations_per_user=1), max_sessions=2)
    first = world.talk()
    await first.start()
    second = world.talk()
    await second.send(start={})
    too_many = (grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_CONVERSATIONS")
    assert await ends_with(second) == too_many
    other = world.talk(user_id=OTHER_ID)
    await other.start()
    third = world.talk(user_id="01900000-0000-7000-8000-000000000003")
    await third.send(start={})
    assert await ends_with(third) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "AT_CAPACITY")
    await first.send(finish={})
    await first.to_end()
    again = world.talk()
    await again.start()
    again.call.cancel()
    other.call.cancel()


async def test_who_goes_away_while_a_session_is_opened_leaves_its_place(empty_world: World):
    world = empty_world
    await world.start(replace(DEFAULT_LIMITS, conversations_per_user=1))
    world.ai.opening.clear()
    first = world.talk()
    await first.send(start={})
    async with asyncio.timeout(20):
        await world.ai.asked.wait()
    claims = world.data_dir / "run" / "sessions"
    assert len(list(claims.iterdir())) == 1
    first.call.cancel()
    async with asyncio.timeout(20):
        # Its engine has not come yet, and nobody waits for that.
        while list(claims.iterdir()):
            await asyncio.sleep(0.01)
    world.ai.opening.set()
    second = world.talk()
    await second.start()
    second.call.cancel()


async def test_any_input_rate_is_resampled_for_the_engine_and_recorded_as_it_is(world: World):
    talk = world.talk()
    started = await talk.start(input_format={"encoding": 1, "sample_rate_hz": 48_000})
    assert started.input_format.sample_rate_hz == 48_000
    engine = await world.ai.session()
    for _ in range(25):
        await talk.send(audio={"pcm": b"\x10\x00" * 1920})
    await talk.send(text={"text": "Hello"})
    await talk.until("turn_saved")
    await talk.send(finish={})
    await talk.to_end()
    assert engine.start.input_format.sample_rate_hz == 16_000
    # One second, but for what the resampler's filter still holds.
    assert 15_000 <= len(engine.audio) // 2 <= 16_000
    [start] = world.media.starts
    assert start.learner_format.sample_rate_hz == 48_000
    assert len(world.media.tracks[start.recording_id][1]) == 25 * 1920 * 2
