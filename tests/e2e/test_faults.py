"""A service dies in the middle of a turn: the client is told, and nothing saved is lost."""

from __future__ import annotations

import asyncio

import pytest

from services.common.errors import ParleyError
from tests.e2e.caller import BOUND_S, Caller, RawTalk, caller
from tests.stack import Stack

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(240),
    pytest.mark.leaves_behind("a running Parley that the tests share, and what it restarted"),
]


async def saved_turns_are_in_history(one: Caller, talk: RawTalk) -> None:
    """Wait until history has exactly the turns that were acknowledged, in their order."""
    async with asyncio.timeout(BOUND_S):
        while True:
            try:
                records = await one.turns(talk.conversation_id)
            except Exception:  # noqa: BLE001 - not there yet, or its service is starting
                records = []
            found = [(each.turn.number, each.turn.turn_id) for each in records]
            if found[: len(talk.saved)] == talk.saved:
                break
            await asyncio.sleep(0.2)
    numbers = [number for number, _ in found]
    assert numbers == list(range(1, len(numbers) + 1))


async def one_turn(talk: RawTalk, text: str) -> None:
    await talk.send(text={"text": text})
    await talk.until("turn_saved")


async def in_the_middle_of_its_second_turn(one: Caller) -> RawTalk:
    """Return a talk with one saved turn, whose second reply has begun."""
    talk = RawTalk(one)
    await talk.start()
    await one_turn(talk, "Hello")
    await talk.send(text={"text": "I like to cook"})
    await talk.until("reply_started")
    return talk


@pytest.mark.parametrize("service", ["user", "history", "media"])
async def test_the_talk_goes_on_when_a_service_off_its_path_dies(
    scripted_stack: Stack, service: str
) -> None:
    async with caller(scripted_stack.address) as one:
        talk = await in_the_middle_of_its_second_turn(one)
        await asyncio.to_thread(scripted_stack.kill, service)
        await talk.until("turn_saved")
        await one_turn(talk, "Good bye")
        await talk.send(finish={})
        ended = await talk.until("ended")
        assert (ended.ended.summary.turns, ended.ended.summary.turns_saved) == (3, 3)
        await asyncio.to_thread(scripted_stack.wait_until_healthy, service)
        await saved_turns_are_in_history(one, talk)
        assert len(talk.saved) == 3


async def test_the_talk_waits_for_the_tutor_when_its_engine_dies(scripted_stack: Stack) -> None:
    async with caller(scripted_stack.address) as one:
        talk = await in_the_middle_of_its_second_turn(one)
        await asyncio.to_thread(scripted_stack.kill, "ai")
        notice = (await talk.until("notice")).notice
        (told,) = talk.notices
        assert (told.reason, told.retryable, notice.fatal) == ("ENGINE_UNAVAILABLE", True, False)
        await asyncio.to_thread(scripted_stack.wait_until_healthy, "ai")
        await one_turn(talk, "Are you there?")
        await talk.send(finish={})
        await talk.until("ended")
        await saved_turns_are_in_history(one, talk)
        assert [number for number, _ in talk.saved] == list(range(1, len(talk.saved) + 1))
        assert len(talk.saved) >= 2


@pytest.mark.parametrize("service", ["conversation", "gateway"])
async def test_a_broken_stream_says_that_trying_again_helps(
    scripted_stack: Stack, service: str
) -> None:
    async with caller(scripted_stack.address) as one:
        talk = await in_the_middle_of_its_second_turn(one)
        await asyncio.to_thread(scripted_stack.kill, service)
        with pytest.raises(ParleyError) as caught:
            await talk.until("ended")
        assert caught.value.code.name == "UNAVAILABLE"
        assert caught.value.retryable
        await asyncio.to_thread(scripted_stack.wait_until_healthy, service)
        await asyncio.to_thread(scripted_stack.wait_until_healthy, "conversation")
        await saved_turns_are_in_history(one, talk)
        again = RawTalk(one)
        await again.start()
        await one_turn(again, "Hello again")
        again.call.cancel()
