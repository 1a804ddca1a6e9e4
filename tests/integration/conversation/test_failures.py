"""What dies around a session does not take it along, nor anything that was said."""

import asyncio
from typing import Any

import grpc.aio
import pytest

from parley.types.v1 import turn_pb2
from services.common.database import Database
from services.common.errors import Unavailable
from services.common.status import from_rpc_error, from_status
from services.conversation import engine_link
from services.conversation import recorder as recorder_module
from tests.integration.conversation.conftest import Talk, World
from tests.integration.conversation.fakes import EngineSession

FAILED = turn_pb2.REPLY_END_REASON_FAILED


def reasons(talk: Talk) -> list[str]:
    return [from_status(each.status).reason for each in talk.of_kind("notice")]


async def test_an_engine_that_dies_in_a_reply_ends_it_and_the_next_one_remembers(world: World):
    async def die(session: EngineSession, text: str) -> None:
        generation = await session.commit(text, turn_pb2.UTTERANCE_SOURCE_TEXT)
        await session.speak(generation, "I begin and then", end=False)
        await asyncio.sleep(0.5)
        session.kill.set()

    world.ai.on_text = die
    talk = world.talk()
    await talk.start()
    await world.ai.session()
    await talk.send(text={"text": "Hello"})
    ended = await talk.until("reply_ended")
    assert ended.reply_ended.reason == FAILED
    assert "I begin and then".startswith(ended.reply_ended.heard_text)
    assert "ENGINE_UNAVAILABLE" in reasons(talk)
    notice = talk.of_kind("notice")[0]
    assert from_status(notice.status).retryable
    assert not notice.fatal
    world.ai.on_text = None
    second = await world.ai.session()
    [past] = second.start.history
    assert (past.learner, past.tutor) == ("Hello", ended.reply_ended.heard_text)
    assert second.start.last_generation == ended.generation
    assert second.start.next_turn == 2
    await talk.send(text={"text": "Again"})
    again = await talk.until("reply_ended")
    assert again.turn == 2
    assert again.generation > ended.generation
    talk.call.cancel()


async def test_a_reply_that_had_not_begun_is_asked_for_again_and_nobody_notices(world: World):
    async def die(session: EngineSession, text: str) -> None:
        await session.commit(text, turn_pb2.UTTERANCE_SOURCE_TEXT)
        session.kill.set()
        world.ai.on_text = None

    world.ai.on_text = die
    talk = world.talk()
    started = await talk.start()
    await talk.send(text={"text": "Hello"})
    ended = await talk.until("reply_ended")
    assert ended.reply_ended.reason == turn_pb2.REPLY_END_REASON_COMPLETED
    assert ended.turn == 1
    assert ended.generation > 1
    [turn] = await world.history.wait_for(started.conversation_id, "turn")
    assert (turn.number, turn.utterance.clean) == (1, "Hello")
    talk.call.cancel()


async def test_the_utterance_that_an_engine_did_not_finish_is_heard_by_the_next(world: World):
    talk = world.talk()
    await talk.start()
    first = await world.ai.session()
    for _ in range(10):
        await talk.send(audio={"pcm": b"\1\0" * 1600})
    async with asyncio.timeout(5):
        while len(first.audio) < 32_000:
            first.audio_came.clear()
            await first.audio_came.wait()
    await first.send(speech_started={"at_ms": 200})
    await talk.until("speech_started")
    first.kill.set()
    second = await world.ai.session()
    async with asyncio.timeout(5):
        while len(second.audio) < 32_000 - second.start.first_sample * 2:
            second.audio_came.clear()
            await second.audio_came.wait()
    assert second.start.first_sample == 0
    assert bytes(second.audio) == bytes(first.audio)
    talk.call.cancel()


@pytest.mark.parametrize("became", ["a turn", "nothing"])
async def test_what_is_decided_on_is_not_heard_again_by_a_new_engine(world: World, became: str):
    """Who spoke again within a second lost an engine, and what was a turn became another."""
    talk = world.talk()
    await talk.start()
    first = await world.ai.session()
    await talk.send(audio={"pcm": b"\1\0" * 1600})
    await first.send(speech_started={"at_ms": 0})
    await first.send(speech_ended={"at_ms": 60})
    if became == "a turn":
        await first.commit("I like to cook", start_ms=0, end_ms=60)
    else:
        await first.send(utterance_dropped={"reason": "empty"})
    for _ in range(9):
        await talk.send(audio={"pcm": b"\1\0" * 1600})
    async with asyncio.timeout(5):
        while len(first.audio) < 32_000:
            first.audio_came.clear()
            await first.audio_came.wait()
    await first.send(speech_started={"at_ms": 200})
    for _ in range(2):
        await talk.until("speech_started")
    first.kill.set()
    second = await world.ai.session()
    assert second.start.first_sample == 60 * 16
    async with asyncio.timeout(5):
        while len(second.audio) < 32_000 - second.start.first_sample * 2:
            second.audio_came.clear()
            await second.audio_came.wait()
    assert bytes(second.audio) == bytes(first.audio[60 * 32 :])
    talk.call.cancel()


async def test_what_was_typed_before_it_was_said_comes_before_it_to_a_new_engine(world: World):
    """An engine that was away for long heard what was said first, and answered that first."""
    heard_bytes = []

    async def note(session: EngineSession, _text: str) -> None:
        heard_bytes.append(len(session.audio))

    talk = world.talk()
    await talk.start()
    first = await world.ai.session()
    await talk.send(audio={"pcm": b"\1\0" * 1600})
    async with asyncio.timeout(5):
        await first.audio_came.wait()
    world.ai.error, world.ai.on_text = Unavailable("Away.", reason="ENGINE_UNAVAILABLE"), note
    first.kill.set()
    await talk.until("notice")
    await talk.send(text={"text": "I typed this"})
    for _ in range(5):
        await talk.send(audio={"pcm": b"\2\0" * 1600})
    await asyncio.sleep(0.2)
    world.ai.error = None
    second = await world.ai.session()
    async with asyncio.timeout(5):
        while len(second.audio) < 5 * 3200:
            second.audio_came.clear()
            await second.audio_came.wait()
    await second.wait_for("text")
    assert heard_bytes == [0]
    assert bytes(second.audio) == b"\2\0" * 8000
    talk.call.cancel()


async def test_an_engine_that_stays_away_ends_the_session_with_a_retryable_error(
    world: World, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(engine_link, "ENGINE_AWAY_S", 0.3)
    talk = world.talk()
    started = await talk.start()
    await talk.send(text={"text": "Hello"})
    await talk.until("turn_saved")
    world.ai.error = Unavailable("Down.", reason="ENGINE_FAILED")
    (await world.ai.session()).kill.set()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await talk.to_end()
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    error = from_rpc_error(caught.value)
    assert (error.reason, error.retryable) == ("ENGINE_UNAVAILABLE", True)
    assert talk.of_kind("notice")[-1].fatal
    assert talk.of_kind("ended")[0].summary.turns_saved == 1
    await world.history.wait_for(started.conversation_id, "ended")


async def test_an_engine_that_comes_back_only_to_die_is_given_up(
    world: World, monkeypatch: pytest.MonkeyPatch
):
    """It was opened again seven times a second, for as long as the learner stayed."""
    monkeypatch.setattr(engine_link, "ENGINE_AWAY_S", 1.0)
    opened = 0

    async def kill_all() -> None:
        nonlocal opened
        while True:
            (await world.ai.session()).kill.set()
            opened += 1

    talk = world.talk()
    await talk.start()
    killing = asyncio.create_task(kill_all())
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await talk.to_end()
    killing.cancel()
    await asyncio.gather(killing, return_exceptions=True)
    assert from_rpc_error(caught.value).reason == "ENGINE_UNAVAILABLE"
    # At once, and after 0.1, 0.3 and 0.7 s; the first of all was the one that was lost.
    assert opened <= 5


async def test_an_engine_that_stops_answering_is_replaced(empty_world: World):
    async def hang(session: EngineSession, text: str) -> None:
        await session.commit(text, turn_pb2.UTTERANCE_SOURCE_TEXT)
        world.ai.on_text = None

    world = empty_world
    await world.start(reply_timeout_seconds=0.3)
    world.ai.on_text = hang
    talk = world.talk()
    await talk.start()
    await talk.send(text={"text": "Hello"})
    ended = await talk.until("reply_ended")
    assert ended.reply_ended.reason == turn_pb2.REPLY_END_REASON_COMPLETED
    talk.call.cancel()


async def test_no_engine_at_the_start_is_unavailable_and_retryable(
    world: World, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(engine_link, "START_PATIENCE_S", 0.3)
    world.ai.error = Unavailable("Loading.", reason="SERVICE_STARTING", retry_after=1)
    talk = world.talk()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await talk.start()
    error = from_rpc_error(caught.value)
    assert (error.reason, error.retryable) == ("ENGINE_UNAVAILABLE", True)


async def test_an_engine_that_is_just_starting_is_waited_for(world: World):
    world.ai.error = Unavailable("Loading.", reason="SERVICE_STARTING", retry_after=1)
    talk = world.talk()
    starting = asyncio.create_task(talk.start())
    async with asyncio.timeout(10):
        while not world.ai.refused:
            await asyncio.sleep(0.01)
    world.ai.error = None
    assert (await starting).engine == "scripted"
    talk.call.cancel()


async def test_without_the_user_service_the_tutor_goes_on_with_defaults(world: World):
    world.user.away = True
    talk = world.talk()
    await talk.start()
    await talk.send(text={"text": "Hello"})
    await talk.until("turn_saved")
    assert reasons(talk) == ["PROFILE_UNAVAILABLE"]
    talk.call.cancel()


async def test_the_profile_reaches_the_engine(world: World):
    world.user.account.profile.display_name = "Ana"
    world.user.account.turn_taking.patience = 0.9
    world.user.account.voice = "bea"
    talk = world.talk()
    started = await talk.start(turn_taking={"push_to_talk": True})
    engine = await world.ai.session()
    assert engine.start.profile.display_name == "Ana"
    assert round(engine.start.turn_taking.patience, 3) == 0.9
    assert engine.start.turn_taking.push_to_talk
    assert started.voice == "bea"
    talk.call.cancel()


async def test_while_history_is_away_turns_are_acknowledged_and_arrive_later(world: World):
    world.history.away = True
    talk = world.talk()
    started = await talk.start()
    await talk.send(text={"text": "Hello"})
    await talk.until("turn_saved")
    world.history.away = False
    await world.history.wait_for(started.conversation_id, "turn")
    assert reasons(talk) == []
    talk.call.cancel()


async def test_while_media_is_away_the_talk_goes_on_and_the_recording_is_whole_after(
    world: World, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(recorder_module, "TOLD_AFTER_S", 0.5)
    world.media.away = True
    talk = world.talk()
    started = await talk.start()
    for index in range(20):
        await talk.send(audio={"pcm": bytes([index + 1, 0]) * 640})
    await talk.send(text={"text": "Hello"})
    await talk.until("turn_saved")
    assert reasons(talk) == ["RECORDING_UNAVAILABLE"]
    world.media.away = False
    await talk.send(finish={})
    await talk.to_end()
    [kept] = await world.history.wait_for(started.conversation_id, "recording")
    learner = bytes(world.media.tracks[kept.recording_id][1])
    assert learner == b"".join(bytes([index + 1, 0]) * 640 for index in range(20))


async def test_failing_storage_never_blocks_the_talk_and_loses_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
):
    failing = True
    write = Database.write

    async def sometimes(self: Database, work: Any) -> Any:
        if failing:
            raise Unavailable("The disk is full.", reason="DATABASE_UNAVAILABLE")
        return await write(self, work)

    talk = world.talk()
    started = await talk.start()
    monkeypatch.setattr(Database, "write", sometimes)
    for text in ("One", "Two", "Three"):
        await talk.send(text={"text": text})
        await talk.until("reply_ended")
    assert talk.of_kind("turn_saved") == []
    assert reasons(talk) == ["STORAGE_UNAVAILABLE"]
    failing = False
    for _ in range(3):
        await talk.until("turn_saved")
    assert [each.number for each in talk.of_kind("turn_saved")] == [1, 2, 3]
    turns = await world.history.wait_for(started.conversation_id, "turn", 3)
    assert [turn.utterance.clean for turn in turns] == ["One", "Two", "Three"]
    assert len({turn.turn_id for turn in turns}) == 3
    talk.call.cancel()


async def test_history_is_told_of_a_recording_that_took_long_to_encode(
    world: World, monkeypatch: pytest.MonkeyPatch
):
    """The session gave up waiting for media, and history never knew of the recording."""
    monkeypatch.setattr("services.conversation.recorder._FINISH_TIMEOUT_S", 0.1)
    world.media.encoding.clear()
    talk = world.talk()
    started = await talk.start()
    await talk.send(text={"text": "Hello"})
    await talk.until("turn_saved")
    await talk.send(finish={})
    await talk.to_end()
    await world.history.wait_for(started.conversation_id, "ended")
    assert world.history.of(started.conversation_id, "recording") == []
    world.media.encoding.set()
    (kept,) = await world.history.wait_for(started.conversation_id, "recording")
    assert kept.recording_id == world.media.starts[0].recording_id
