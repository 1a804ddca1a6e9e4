"""The learner speaks while the tutor speaks, over gRPC."""

import asyncio

from parley.types.v1 import turn_pb2
from tests.integration.conversation.conftest import Talk, World
from tests.integration.conversation.fakes import EngineSession

INTERRUPTED = turn_pb2.REPLY_END_REASON_INTERRUPTED
REPLY = "one two three four five six seven eight nine ten"


async def replying(world: World, **start: object) -> tuple[Talk, EngineSession, int]:
    """Begin a session in the middle of a reply."""
    talk = world.talk()
    await talk.start(**start)
    engine = await world.ai.session()
    generation = await engine.commit("Count, please")
    await engine.speak(generation, REPLY)
    await talk.until("reply_audio")
    return talk, engine, generation


async def test_words_over_a_reply_end_it_where_it_was_heard(world: World):
    talk, engine, generation = await replying(world)
    await asyncio.sleep(0.5)
    began = asyncio.get_running_loop().time()
    await engine.send(speech_started={"at_ms": 2000})
    await talk.until("reply_paused")
    assert asyncio.get_running_loop().time() - began < 0.25
    await talk.send(heard={"generation": generation, "audio_ms": 620})
    await talk.send(ping={"nonce": 1})
    await talk.until("pong")
    await engine.words("wait a moment")
    ended = (await talk.until("reply_ended")).reply_ended
    assert (ended.reason, ended.heard_ms, ended.heard_text) == (INTERRUPTED, 620, "one two")
    told = await engine.wait_for("interrupt")
    assert (told.generation, told.heard_text, told.heard_ms) == (generation, "one two", 620)
    assert (await engine.wait_for("resolve")).take
    next_generation = await engine.commit("Wait a moment")
    await engine.speak(generation, "stale words of the old reply")
    await engine.speak(next_generation, "Of course")
    after = len(talk.seen)
    await talk.until("reply_ended")
    assert all(each.generation in (0, next_generation) for each in talk.seen[after:])
    talk.call.cancel()


async def test_a_backchannel_only_holds_the_reply_for_a_moment(world: World):
    talk, engine, _ = await replying(world)
    await engine.send(speech_started={"at_ms": 2000})
    await talk.until("reply_paused")
    await engine.words("mhm")
    await engine.send(speech_ended={"at_ms": 2300})
    await talk.until("reply_resumed")
    assert not (await engine.wait_for("resolve")).take
    ended = (await talk.until("reply_ended")).reply_ended
    assert ended.heard_text == REPLY
    offsets = [each.offset_ms for each in talk.of_kind("reply_audio")]
    assert offsets == list(range(0, 3000, 100))
    talk.call.cancel()


async def test_typing_and_the_stop_button_work_at_once(world: World):
    talk, _, generation = await replying(world)
    await talk.send(interrupt={"generation": generation, "heard_ms": 350})
    ended = (await talk.until("reply_ended")).reply_ended
    assert (ended.reason, ended.heard_text) == (INTERRUPTED, "one")
    await talk.send(text={"text": "Hello"})
    await talk.until("reply_audio")
    await talk.send(text={"text": "Never mind"})
    assert (await talk.until("reply_ended")).reply_ended.reason == INTERRUPTED
    assert (await talk.until("reply_started")).turn == 3
    talk.call.cancel()


async def test_the_recording_holds_what_was_heard_of_an_interrupted_reply(world: World):
    talk, _, generation = await replying(world)
    await talk.send(interrupt={"generation": generation, "heard_ms": 350})
    await talk.until("reply_ended")
    await talk.send(finish={})
    await talk.to_end()
    [start] = world.media.starts
    tutor = bytes(world.media.tracks[start.recording_id][2])
    assert len(tutor.lstrip(b"\0")) // 2 in range(350 * 24 - 1, 350 * 24 + 1)


async def test_a_learner_who_mutes_right_after_speaking_is_heard_to_fall_silent(world: World):
    """Engines count their waits in audio, and a muted client sends none."""
    talk = world.talk()
    await talk.start()
    engine = await world.ai.session()
    voice = b"\x01\x00" * 320
    await talk.send(audio={"pcm": voice, "first_sample": 0})
    await engine.send(speech_started={"at_ms": 0})
    await talk.until("speech_started")
    await talk.send(settings={"muted": True})
    async with asyncio.timeout(10):
        while len(engine.audio) < 3 * len(voice):
            engine.audio_came.clear()
            await engine.audio_came.wait()
    assert set(engine.audio[len(voice) :]) == {0}
    await talk.send(settings={"muted": False})
    await talk.send(audio={"pcm": voice, "first_sample": 320})
    async with asyncio.timeout(10):
        while not engine.audio.endswith(voice):
            engine.audio_came.clear()
            await engine.audio_came.wait()
    talk.call.cancel()
