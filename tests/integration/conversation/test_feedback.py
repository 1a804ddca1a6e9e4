"""Corrections come beside the talk: after their turn, to the client and to history."""

from __future__ import annotations

import asyncio

from parley.types.v1 import feedback_pb2
from services.common.errors import ResourceExhausted
from tests.integration.conversation.conftest import USER_ID, World

GOED = feedback_pb2.Correction(
    correction_id="01900000-0000-7000-8000-0000000000c1",
    kind=feedback_pb2.CORRECTION_KIND_GRAMMAR,
    first_word=1,
    end_word=2,
    original="goed",
    replacement="went",
    explanation="The past of this verb is “went”.",
    confidence=0.8,
    scorer="test@1",
)


async def test_a_correction_comes_with_its_turn_and_is_kept(world: World):
    world.ai.feedback.corrections.append(GOED)
    talk = world.talk()
    started = await talk.start(engine="scripted")
    await talk.send(text={"text": "I goed home"})
    told = await talk.until("feedback")
    (saved,) = talk.of_kind("turn_saved")
    assert (told.turn, told.feedback.turn_id) == (1, saved.turn_id), "after the turn was saved"
    assert list(told.feedback.feedback.corrections) == [GOED]
    (asked,) = world.ai.assessed
    assert (asked.engine, asked.transcript.verbatim) == ("scripted", "I goed home")
    assert asked.user_id == USER_ID
    await world.history.wait_for(started.conversation_id, "assessed")
    (event,) = world.history.of(started.conversation_id, "assessed")
    assert (event.turn_id, list(event.feedback.corrections)) == (saved.turn_id, [GOED])
    talk.call.cancel()


async def test_a_reply_waits_for_no_correction(world: World):
    world.ai.assessing.clear()
    world.ai.feedback.corrections.append(GOED)
    talk = world.talk()
    await talk.start(captions_only=True)
    for number in (1, 2, 3):
        await talk.send(text={"text": "I goed home"})
        assert (await talk.until("turn_saved")).turn_saved.number == number
    assert not talk.of_kind("feedback")
    world.ai.assessing.set()
    assert {(await talk.until("feedback")).turn for _ in range(3)} == {1, 2, 3}
    talk.call.cancel()


async def test_a_correction_found_after_the_end_is_in_the_history(world: World):
    world.ai.assessing.clear()
    world.ai.feedback.corrections.append(GOED)
    talk = world.talk()
    started = await talk.start(captions_only=True)
    await talk.send(text={"text": "I goed home"})
    await talk.until("turn_saved")
    await talk.send(finish={})
    await talk.to_end()
    world.ai.assessing.set()
    await world.history.wait_for(started.conversation_id, "assessed")
    assert not talk.of_kind("feedback")


async def test_nobody_hears_of_a_correction_that_could_not_be_had(world: World):
    world.ai.assess_error = ResourceExhausted("It is full.", reason="AT_CAPACITY")
    talk = world.talk()
    await talk.start(captions_only=True)
    await talk.send(text={"text": "I goed home"})
    await talk.until("turn_saved")
    async with asyncio.timeout(20):
        while not world.ai.assessed:
            await asyncio.sleep(0.01)
    await talk.send(finish={})
    await talk.to_end()
    assert not talk.of_kind("feedback")
    assert not talk.of_kind("notice")


async def test_what_the_tutor_says_unasked_is_not_looked_at(world: World):
    talk = world.talk()
    await talk.start(tutor_opens=True, captions_only=True)
    engine = await world.ai.session()
    await engine.wait_for("request_reply")
    await talk.send(text={"text": "I goed home"})
    await talk.until("turn_saved")
    async with asyncio.timeout(20):
        while not world.ai.assessed:
            await asyncio.sleep(0.01)
    assert [each.transcript.verbatim for each in world.ai.assessed] == ["I goed home"]
    talk.call.cancel()
