"""One conversation from its start to its end, over gRPC."""

import asyncio
import statistics

from parley.types.v1 import turn_pb2
from tests.integration.conversation.conftest import USER_ID, World

FRAME = bytes(640)  # 20 ms at 16 kHz


async def test_a_typed_turn_is_answered_saved_and_reaches_history(world: World):
    talk = world.talk()
    started = await talk.start()
    assert started.engine == "scripted"
    assert started.scenario.scenario_id == "free-talk"
    assert (started.next_turn, started.resumed) == (1, False)
    await talk.send(text={"text": "Hello there"})
    ended = (await talk.until("reply_ended")).reply_ended
    assert ended.reason == turn_pb2.REPLY_END_REASON_COMPLETED
    assert ended.heard_text == "That is very good"
    assert sum(len(each.pcm) for each in talk.of_kind("reply_audio")) == 4 * 300 * 24 * 2
    saved = (await talk.until("turn_saved")).turn_saved
    await talk.send(finish={})
    summary = (await talk.until("ended")).ended.summary
    assert (summary.turns, summary.turns_saved) == (1, 1)
    assert await talk.read() is None
    [turn] = await world.history.wait_for(started.conversation_id, "turn")
    assert (turn.turn_id, turn.number) == (saved.turn_id, 1)
    assert turn.utterance.clean == "Hello there"
    assert turn.heard_text == "That is very good"
    await world.history.wait_for(started.conversation_id, "started")
    await world.history.wait_for(started.conversation_id, "ended")


async def test_sequence_numbers_have_no_gaps_and_the_reply_carries_its_turn(world: World):
    talk = world.talk()
    await talk.start()
    await talk.send(text={"text": "Hello"})
    await talk.until("turn_saved")
    assert [each.seq for each in talk.seen] == list(range(1, len(talk.seen) + 1))
    replies = [each for each in talk.seen if each.generation]
    assert {(each.turn, each.generation) for each in replies} == {(1, 1)}
    talk.call.cancel()


async def test_a_spoken_turn_goes_to_the_engine_and_both_sides_are_recorded(world: World):
    talk = world.talk()
    started = await talk.start()
    engine = await world.ai.session()
    for index in range(50):
        await talk.send(audio={"pcm": bytes([index + 1, 0]) * 320, "first_sample": index * 320})
        await asyncio.sleep(0.005)
    await engine.send(speech_started={"at_ms": 100})
    assert (await talk.until("speech_started")).speech_started.at_ms == 100
    await engine.send(speech_ended={"at_ms": 900})
    generation = await engine.commit("I like tea", start_ms=100, end_ms=900)
    transcript = await talk.until("transcript")
    assert transcript.transcript.final
    assert transcript.turn == 1
    await engine.speak(generation, "Me too")
    ended = await talk.until("reply_ended")
    kinds = [stage.kind for stage in ended.reply_ended.stages]
    assert kinds == [
        turn_pb2.STAGE_KIND_ENDPOINT,
        turn_pb2.STAGE_KIND_SENT,
        turn_pb2.STAGE_KIND_UNACCOUNTED,
    ]
    assert (await engine.wait_for("reply_heard")).generation == generation
    await talk.send(finish={})
    await talk.to_end()
    assert bytes(engine.audio) == b"".join(bytes([index + 1, 0]) * 320 for index in range(50))
    [recording] = await world.history.wait_for(started.conversation_id, "recording")
    tracks = world.media.tracks[recording.recording_id]
    assert bytes(tracks[1]) == bytes(engine.audio)
    tutor = bytes(tracks[2])
    assert tutor.count(b"\x01\x00") >= 7200
    assert len(tutor.lstrip(b"\0")) // 2 >= 2 * 7200 - 1
    assert world.media.starts[0].user_id == USER_ID


async def test_the_floor_follows_the_reply(world: World):
    talk = world.talk()
    await talk.start()
    await talk.send(text={"text": "Hello"})
    engine = await world.ai.session()
    await talk.until("turn_saved")
    floors = [each.floor for each in engine.of_kind("floor")]
    assert floors == [2, 1]
    talk.call.cancel()


async def test_half_closing_lets_the_tutor_finish(world: World):
    talk = world.talk()
    await talk.start()
    await talk.send(text={"text": "Hello"})
    await talk.call.done_writing()
    await talk.to_end()
    assert talk.of_kind("reply_ended")[0].reason == turn_pb2.REPLY_END_REASON_COMPLETED
    assert talk.of_kind("ended")[0].summary.turns_saved == 1


async def test_the_platform_adds_little_to_an_instant_engine(world: World):
    """A smoke check: the benchmark measures it properly."""
    talk = world.talk()
    await talk.start(captions_only=True, no_recording=True)
    took = []
    for _ in range(20):
        began = asyncio.get_running_loop().time()
        await talk.send(text={"text": "Hello"})
        await talk.until("reply_started")
        took.append(asyncio.get_running_loop().time() - began)
        await talk.until("turn_saved")
    talk.call.cancel()
    assert statistics.median(took) < 0.1
