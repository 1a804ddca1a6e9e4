"""A client that was cut off goes on where it was."""

import asyncio
import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc.aio
import pytest

from parley.conversation.v1 import conversation_pb2
from services.common.limits import DEFAULT_LIMITS
from services.common.status import from_rpc_error
from tests.integration.conversation.conftest import OTHER_ID, Talk, World
from tests.integration.conversation.fakes import EngineSession

QUICK = {"resume_seconds": 0.3}


async def cut(talk: Talk) -> None:
    """Break the connection without a word."""
    talk.call.cancel()
    await asyncio.sleep(0.05)


async def resume(world: World, handle: str, last_seq: int, user_id: str | None = None) -> Talk:
    talk = world.talk(user_id=user_id) if user_id else world.talk()
    await talk.send(start={"resume_handle": handle, "last_seq": last_seq})
    return talk


async def fails(talk: Talk, code: grpc.StatusCode, reason: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await talk.to_end()
    assert (caught.value.code(), from_rpc_error(caught.value).reason) == (code, reason)


async def test_what_was_missed_comes_again_in_order_and_the_reply_goes_on(world: World):
    world.ai.answer = "one two three four five six seven eight"
    first = world.talk()
    started = await first.start()
    await first.send(text={"text": "Hello"})
    await first.until("reply_audio")
    last_seq = first.seen[-1].seq
    await cut(first)
    second = await resume(world, started.resume_handle, last_seq)
    again = (await second.until("started")).started
    assert again.resumed
    assert again.conversation_id == started.conversation_id
    ended = await second.until("reply_ended")
    assert ended.reply_ended.heard_text == world.ai.answer
    await second.until("turn_saved")
    numbered = [each.seq for each in [*first.seen, *second.seen] if each.seq]
    assert numbered == list(range(1, numbered[-1] + 1))
    offsets = [each.offset_ms for each in first.of_kind("reply_audio")]
    offsets += [each.offset_ms for each in second.of_kind("reply_audio")]
    assert offsets == list(range(0, 8 * 300, 100))
    second.call.cancel()


async def test_nothing_is_said_to_nobody(world: World):
    """While the client is away the reply waits: its words would count as heard."""
    world.ai.answer = "one two three four five six seven eight"
    first = world.talk()
    started = await first.start()
    await first.send(text={"text": "Hello"})
    await first.until("reply_audio")
    await cut(first)
    await asyncio.sleep(1.0)
    state = await _state(world, started.conversation_id)
    assert (state.connected, state.turn, state.unsaved_turns) == (False, 1, 0)
    assert state.state == 2
    second = await resume(world, started.resume_handle, first.seen[-1].seq)
    await second.until("reply_ended")
    second.call.cancel()


async def test_a_second_connection_takes_the_session_over(world: World):
    first = world.talk()
    started = await first.start()
    second = await resume(world, started.resume_handle, 1)
    await second.until("started")
    await fails(first, grpc.StatusCode.ABORTED, "TAKEN_OVER")
    await second.send(text={"text": "Hello"})
    await second.until("turn_saved")
    second.call.cancel()


async def test_another_users_handle_resumes_nothing(world: World):
    first = world.talk()
    started = await first.start()
    thief = await resume(world, started.resume_handle, 0, OTHER_ID)
    await fails(thief, grpc.StatusCode.INVALID_ARGUMENT, "RESUME_HANDLE_INVALID")
    wrong = started.resume_handle[:-2] + "00"
    await fails(
        await resume(world, wrong, 0), grpc.StatusCode.INVALID_ARGUMENT, "RESUME_HANDLE_INVALID"
    )
    garbage = await resume(world, "garbage", 0)
    await fails(garbage, grpc.StatusCode.INVALID_ARGUMENT, "RESUME_HANDLE_INVALID")
    await first.send(text={"text": "Hello"})
    await first.until("turn_saved")
    first.call.cancel()


async def test_a_client_that_stays_away_ends_its_session(empty_world: World):
    world = empty_world
    await world.start(**QUICK)
    first = world.talk()
    started = await first.start()
    await cut(first)
    await world.history.wait_for(started.conversation_id, "ended")
    late = await resume(world, started.resume_handle, 0)
    await fails(late, grpc.StatusCode.INVALID_ARGUMENT, "RESUME_HANDLE_INVALID")
    assert world.ai.live == 0


async def test_an_ended_session_is_over_though_its_end_is_not_stored_yet(
    world: World, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("services.conversation.live._SETTLE_S", 0.01)
    monkeypatch.setattr("services.conversation.application._UNWRITTEN_S", 0.05)
    talk = world.talk()
    started = await talk.start(no_recording=True)
    await world.history.wait_for(started.conversation_id, "started", 1)
    file = world.data_dir / "db" / "conversation.sqlite3"
    with closing(sqlite3.connect(file, isolation_level=None)) as busy:
        busy.execute("BEGIN IMMEDIATE")
        await talk.send(finish={})
        await talk.until("ended")
        refused = grpc.StatusCode.INVALID_ARGUMENT
        while refused is grpc.StatusCode.INVALID_ARGUMENT:
            # The process still knows; once it has let go, only storage could.
            early = await resume(world, started.resume_handle, 0)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await early.to_end()
            refused = caught.value.code()
        assert refused is grpc.StatusCode.UNAVAILABLE
        busy.execute("ROLLBACK")
    await world.history.wait_for(started.conversation_id, "ended")
    late = await resume(world, started.resume_handle, 0)
    await fails(late, grpc.StatusCode.INVALID_ARGUMENT, "RESUME_HANDLE_INVALID")


async def test_after_a_restart_the_session_goes_on_from_what_was_saved(world: World):
    first = world.talk()
    started = await first.start(scenario_id="restaurant")
    await first.send(text={"text": "Hello"})
    await first.until("turn_saved")
    await world.ai.session()
    await world.stop()
    with pytest.raises((grpc.aio.AioRpcError, asyncio.CancelledError)):
        await first.to_end()
    await world.start()
    last_seq = first.seen[-1].seq
    second = await resume(world, started.resume_handle, last_seq)
    again = (await second.until("started")).started
    assert again.resumed
    assert again.next_turn == 2
    assert again.scenario.scenario_id == "restaurant"
    engine = await world.ai.session()
    assert [turn.learner for turn in engine.start.history] == ["Hello"]
    await second.send(text={"text": "Again"})
    ended = await second.until("reply_ended")
    assert ended.turn == 2
    assert ended.generation > 1
    assert ended.seq > last_seq
    await second.send(finish={})
    await second.to_end()
    turns = await world.history.wait_for(started.conversation_id, "turn", 2)
    assert [turn.number for turn in turns] == [1, 2]
    starts = {start.recording_id for start in world.media.starts}
    assert len(starts) == 1


async def test_draining_says_so_and_lets_go_between_turns(world: World):
    talk = world.talk()
    started = await talk.start()
    await talk.send(text={"text": "Hello"})
    await talk.until("reply_started")
    world.running.stop()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await talk.to_end()
    assert talk.of_kind("reply_ended")[0].heard_text == world.ai.answer
    await world.stop()
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert talk.of_kind("go_away")
    await world.start()
    again = await resume(world, started.resume_handle, talk.seen[-1].seq)
    assert (await again.until("started")).started.next_turn == 2
    again.call.cancel()


async def test_a_process_that_goes_away_lets_go_only_when_the_last_turn_is_stored(
    world: World, monkeypatch: pytest.MonkeyPatch
):
    """Another process begins from what is stored: it would give the turn's number away again."""
    monkeypatch.setattr("services.conversation.live._SETTLE_S", 0.01)
    talk = world.talk()
    started = await talk.start()
    await talk.send(text={"text": "Hello"})
    await talk.until("reply_started")
    # What was stored so far is, before somebody else writes.
    await world.history.wait_for(started.conversation_id, "started", 1)
    with closing(
        sqlite3.connect(world.data_dir / "db" / "conversation.sqlite3", isolation_level=None)
    ) as busy:
        busy.execute("BEGIN IMMEDIATE")
        world.running.stop()
        await talk.until("reply_ended")
        letting_go = asyncio.create_task(talk.to_end())
        await asyncio.wait({letting_go}, timeout=0.5)
        assert not letting_go.done()
        assert not talk.of_kind("turn_saved")
        busy.execute("ROLLBACK")
    with pytest.raises(grpc.aio.AioRpcError):
        await letting_go
    assert talk.of_kind("turn_saved")


async def test_a_client_that_does_not_read_is_cut_off_and_can_resume(
    world: World, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("services.conversation.responses.MAX_WAITING", 64)
    talk = world.talk()
    started = await talk.start()
    engine = await world.ai.session()
    # It reads none of these; flow control takes the first few hundred kilobytes.
    for _ in range(1_000):
        await engine.words("a" * 8_000)
    async with asyncio.timeout(10):
        while await _connected(world, started.conversation_id):
            await asyncio.sleep(0.01)
    second = await resume(world, started.resume_handle, 0)
    await second.until("started")
    await second.send(text={"text": "Hello"})
    await second.until("turn_saved")
    second.call.cancel()


async def test_limits_of_a_resumed_session_are_told_again(empty_world: World):
    await empty_world.start(replace(DEFAULT_LIMITS, conversation_idle_seconds=77))
    first = empty_world.talk()
    started = await first.start()
    await cut(first)
    second = await resume(empty_world, started.resume_handle, 1)
    assert (await second.until("started")).started.limits.idle_s == 77
    second.call.cancel()


async def _state(world: World, conversation_id: str) -> Any:
    request = conversation_pb2.GetConversationStateRequest(conversation_id=conversation_id)
    return await world.stub.GetConversationState(request, metadata=world.metadata())


async def _connected(world: World, conversation_id: str) -> bool:
    return bool((await _state(world, conversation_id)).connected)


async def test_after_a_restart_the_unanswered_utterance_is_heard_again(world: World):
    """It was lost: the new process wanted audio only from the moment of the restart on."""
    talk = world.talk()
    started = await talk.start()
    engine = await world.ai.session()
    answered, unanswered = b"\1\0" * 3200, b"\2\0" * 3200
    for index in range(15):
        await talk.send(audio={"pcm": answered, "first_sample": index * 3200})
    generation = await engine.commit("I like tea", start_ms=200, end_ms=900)
    await engine.speak(generation, "Good")
    await talk.until("turn_saved")
    for index in range(15, 20):
        await talk.send(audio={"pcm": unanswered, "first_sample": index * 3200})
    await heard(engine, 20 * 6400)
    await world.stop()
    await world.start()

    again = await resume(world, started.resume_handle, talk.seen[-1].seq)
    next_sample = (await again.until("started")).started.next_sample
    assert 14_400 <= next_sample <= 15 * 3200
    for index in range(next_sample // 3200, 15):
        await again.send(audio={"pcm": answered, "first_sample": index * 3200})
    for index in range(15, 20):
        await again.send(audio={"pcm": unanswered, "first_sample": index * 3200})
    second = await world.ai.session()
    assert second.start.first_sample == next_sample
    await heard(second, (20 * 3200 - next_sample) * 2)
    assert bytes(second.audio).endswith(unanswered * 5)
    generation = await second.commit("And coffee", start_ms=3_000, end_ms=4_000)
    await second.speak(generation, "Me too")
    await again.until("turn_saved")
    await again.send(finish={})
    summary = (await again.until("ended")).ended.summary
    assert (summary.turns, summary.turns_saved) == (2, 2)
    assert summary.learner_speech_ms == 1_700
    assert summary.tutor_speech_ms == 900
    await again.to_end()
    turns = await world.history.wait_for(started.conversation_id, "turn", 2)
    assert [turn.utterance.clean for turn in turns] == ["I like tea", "And coffee"]


async def heard(engine: EngineSession, size: int) -> None:
    async with asyncio.timeout(5):
        while len(engine.audio) < size:
            engine.audio_came.clear()
            await engine.audio_came.wait()


async def killed(world: World, folder: Path) -> None:
    """Go on with another process, from what was on the disk in this moment.

    The old one lives on until the test is over, but nobody talks to it any more.
    """
    await asyncio.to_thread(shutil.copytree, world.data_dir, folder)
    world.data_dir = folder
    await world.start()


async def heard_up_to(world: World, talk: Talk, generation: int, ms: int) -> None:
    """Play `ms` of a reply, and wait until the turn as far as it was made lies on the disk."""
    await talk.until("reply_audio")
    await talk.send(heard={"generation": generation, "audio_ms": ms})
    async with asyncio.timeout(5):
        while b"kept one two three" not in await asyncio.to_thread(on_disk, world.data_dir):
            await asyncio.sleep(0.02)


def on_disk(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("conversation.sqlite3*"))


async def test_what_was_heard_of_a_reply_is_not_said_again_after_a_kill(
    world: World, tmp_path: Path
):
    """The learner heard its first words, and then the whole of it once more."""
    world.ai.answer = "kept one two three four five six seven eight nine ten"
    first = world.talk()
    started = await first.start()
    await first.send(text={"text": "Hello"})
    reply = await first.until("reply_started")
    await heard_up_to(world, first, reply.generation, 300)
    await world.ai.session()
    await killed(world, tmp_path / "after")

    second = world.talk()
    await second.send(
        start={
            "resume_handle": started.resume_handle,
            "last_seq": first.seen[-1].seq,
            "heard": {"generation": reply.generation, "audio_ms": 700},
        }
    )
    assert (await second.until("started")).started.next_turn == 2
    ended = await second.until("reply_ended")
    assert (ended.turn, ended.generation) == (1, reply.generation)
    assert ended.reply_ended.heard_text == "kept one"
    assert (await second.until("turn_saved")).turn_saved.number == 1
    engine = await world.ai.session()
    assert [(turn.learner, turn.tutor) for turn in engine.start.history] == [("Hello", "kept one")]
    await second.send(text={"text": "Go on"})
    assert (await second.until("reply_started")).turn == 2
    await second.send(finish={})
    summary = (await second.until("ended")).ended.summary
    assert (summary.turns, summary.turns_saved) == (2, 2)
    turns = await world.history.wait_for(started.conversation_id, "turn", 2)
    assert {turn.number: turn.heard_text for turn in turns}[1] == "kept one"
    await second.to_end()
    first.call.cancel()


async def test_a_text_that_a_killed_process_had_not_answered_is_answered_once(
    world: World, tmp_path: Path
):
    first = world.talk()
    started = await first.start()
    answered = await first.send(text={"text": "answered"})
    await first.until("turn_saved")
    await killed(world, tmp_path / "after")

    second = world.talk()
    second._seq = 10
    await second.send(start={"resume_handle": started.resume_handle, "last_seq": 1})
    await second.until("started")
    again = [(answered, "answered"), (answered + 1, "swallowed")]
    for seq, text in again:
        await second.call.write(conversation_pb2.ConverseRequest(seq=seq, text={"text": text}))
    await second.send(text={"text": "new"})
    await second.until("turn_saved")
    await second.until("turn_saved")
    await second.send(finish={})
    await second.to_end()
    turns = await world.history.wait_for(started.conversation_id, "turn", 3)
    said = [turn.utterance.clean for turn in sorted(turns, key=lambda turn: turn.number)]
    assert said == ["answered", "swallowed", "new"]
    first.call.cancel()
