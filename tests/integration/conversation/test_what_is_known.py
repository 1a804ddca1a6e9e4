"""What the other services know of a learner reaches the tutor when a conversation begins."""

from parley.history.v1 import history_pb2
from parley.types.v1 import feedback_pb2
from tests.integration.conversation.conftest import World

GOED = feedback_pb2.Correction(
    correction_id="01900000-0000-7000-8000-0000000000c1",
    kind=feedback_pb2.CORRECTION_KIND_GRAMMAR,
    original="goed",
    replacement="went",
)


async def test_the_tutor_is_told_what_the_learner_gets_wrong(world: World):
    world.history.mistakes = [history_pb2.Mistake(correction=GOED, count=3)]
    talk = world.talk()
    await talk.start()
    engine = await world.ai.session()
    assert list(engine.start.recent_corrections) == [GOED]
    assert world.history.asked_by[0].startswith("Bearer "), "asked as the learner"
    talk.call.cancel()


async def test_a_history_that_is_away_delays_nobody_and_is_no_news(world: World):
    world.history.away = True
    talk = world.talk()
    await talk.start()
    engine = await world.ai.session()
    assert not engine.start.recent_corrections
    await talk.send(text={"text": "Hello"})
    await talk.until("turn_saved")
    assert not talk.of_kind("notice")
    talk.call.cancel()
