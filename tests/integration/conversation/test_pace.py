"""A learner's pauses are known again in the next conversation."""

import pytest

from parley.types.v1 import turn_pb2
from tests.integration.conversation.conftest import OTHER_ID, World


async def one_turn(world: World, pause_ms: int) -> int:
    """Hold a conversation in which the learner is found to pause so; return what was known."""
    talk = world.talk()
    await talk.start()
    engine = await world.ai.session()
    await engine.send(
        1,
        engine.generation + 1,
        turn_committed={
            "source": turn_pb2.UTTERANCE_SOURCE_SPEECH,
            "transcript": {"verbatim": "Hi", "clean": "Hi"},
            "typical_pause_ms": pause_ms,
        },
    )
    await engine.speak(engine.generation + 1, "Hello")
    await talk.until("turn_saved")
    await talk.send(finish={})
    await talk.to_end()
    return int(engine.start.turn_taking.typical_pause_ms)


async def test_the_last_estimate_begins_the_next_conversation(world: World):
    assert await one_turn(world, 800) == 0
    assert await one_turn(world, 1_100) == 800
    await world.stop()
    await world.start()
    assert await one_turn(world, 0) == 1_100
    other = world.talk(user_id=OTHER_ID)
    await other.start()
    assert (await world.ai.session()).start.turn_taking.typical_pause_ms == 0
    other.call.cancel()


@pytest.mark.parametrize("where", ["profile", "start"])
async def test_what_was_asked_for_wins(world: World, where: str):
    await one_turn(world, 800)
    wished = {"typical_pause_ms": 333}
    if where == "profile":
        world.user.account.turn_taking.typical_pause_ms = 333
    talk = world.talk()
    await talk.start(**({"turn_taking": wished} if where == "start" else {}))
    assert (await world.ai.session()).start.turn_taking.typical_pause_ms == 333
    talk.call.cancel()
