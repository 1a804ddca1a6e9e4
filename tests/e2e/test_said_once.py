"""What was said around a break is heard once, and what was heard of a reply is not said again."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncIterator

import pytest

from bench.interruptions_player import Player
from parley.conversation.v1 import conversation_pb2
from parley.history.v1 import history_pb2
from parley.types.v1 import turn_pb2
from parley_cli.client.converse import ConverseStream
from parley_cli.client.endpoint import parse_endpoint
from parley_cli.client.parley_client import ParleyClient
from parley_cli.failures import CliFailure
from tests.e2e.steady_learner import SteadyLearner
from tests.fault.line import line
from tests.stack import Stack

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(240),
    pytest.mark.leaves_behind("a running Parley that the tests share, and what it restarted"),
]

BOUND_S = 30.0
START = conversation_pb2.StartSession(engine="scripted")
Response = conversation_pb2.ConverseResponse


@contextlib.asynccontextmanager
async def signed_up(port: int) -> AsyncIterator[ParleyClient]:
    async with ParleyClient(parse_endpoint(f"127.0.0.1:{port}")) as client:
        await client.register(f"ana-{secrets.token_hex(4)}", secrets.token_urlsafe(24))
        yield client


async def turns_of(
    client: ParleyClient, conversation_id: str, count: int
) -> list[history_pb2.TurnRecord]:
    request = history_pb2.GetConversationRequest(conversation_id=conversation_id)
    async with asyncio.timeout(BOUND_S):
        while True:
            with contextlib.suppress(CliFailure):
                found = (await client.call(client.history.GetConversation, request)).turns
                if len(found) >= count:
                    return list(found)
            await asyncio.sleep(0.2)


class Listener:
    """Reads everything, plays it, and reports what was played."""

    def __init__(self, stream: ConverseStream) -> None:
        self._stream = stream
        self.seen: list[Response] = []
        self.player = Player()
        self.changed = asyncio.Condition()

    async def read(self) -> None:
        async for response in self._stream:
            self.seen.append(response)
            if response.HasField("reply_started"):
                self.player = Player()
            elif response.HasField("reply_audio"):
                lasts_ms = len(response.reply_audio.pcm) // 2 * 1000 // 24_000
                self.player.came(lasts_ms, time.monotonic())
                played_ms = int(self.player.played_ms(time.monotonic()))
                await self._stream.send_heard(response.generation, played_ms)
            async with self.changed:
                self.changed.notify_all()

    def of_kind(self, kind: str) -> list[Response]:
        return [each for each in self.seen if each.HasField(kind)]

    async def until(self, kind: str, count: int = 1) -> Response:
        async with asyncio.timeout(BOUND_S), self.changed:
            await self.changed.wait_for(lambda: len(self.of_kind(kind)) >= count)
        return self.of_kind(kind)[count - 1]


async def test_a_reply_whose_process_was_killed_is_closed_where_it_was_heard(
    scripted_stack: Stack,
) -> None:
    async with (
        signed_up(scripted_stack.port) as client,
        client.converse(START) as stream,
        asyncio.TaskGroup() as group,
    ):
        listener = Listener(stream)
        reading = group.create_task(listener.read())
        await stream.send_text("I like to cook")
        began = await listener.until("reply_started")
        # What is played has been kept for a while by then.
        async with asyncio.timeout(BOUND_S):
            while listener.player.played_ms(time.monotonic()) < 1_200:
                await asyncio.sleep(0.02)
        await stream.send_heard(began.generation, 700)
        await asyncio.to_thread(scripted_stack.kill, "conversation")
        ended = await listener.until("reply_ended")
        assert (ended.turn, ended.generation) == (1, began.generation)
        assert ended.reply_ended.heard_ms >= 700
        assert (await listener.until("turn_saved")).turn_saved.number == 1
        await stream.send_text("Go on")
        assert (await listener.until("reply_started", 2)).turn == 2
        await listener.until("turn_saved", 2)
        await stream.finish()
        await reading
        first, _ = await turns_of(client, stream.started.conversation_id, 2)
    heard = ended.reply_ended
    reply = [each for each in listener.of_kind("reply_text") if each.generation == began.generation]
    assert heard.heard_text
    assert "".join(each.reply_text.text for each in reply).startswith(heard.heard_text)
    assert (first.turn.heard_text, first.turn.heard_ms) == (heard.heard_text, heard.heard_ms)
    (over,) = listener.of_kind("ended")
    assert (over.ended.summary.turns, over.ended.summary.turns_saved) == (2, 2)


@pytest.mark.parametrize("how", ["cut", "stall then cut"])
async def test_what_is_said_while_the_line_is_cut_is_heard_once(
    scripted_stack: Stack, how: str
) -> None:
    async with (
        line(scripted_stack.port) as (wire, port),
        signed_up(port) as client,
        client.converse(START) as stream,
        asyncio.TaskGroup() as group,
    ):
        learner = SteadyLearner(stream)
        learner.start(group)
        await learner.one_turn()
        if how != "cut":
            # What is written now is lost without anybody noticing.
            group.create_task(wire.stall(1.0))
            await asyncio.sleep(0.5)
        cutting = group.create_task(wire.cut(3.0))
        await asyncio.sleep(0.2)
        known = learner.next_turn
        learner.say()
        await cutting
        async with asyncio.timeout(BOUND_S):
            while learner.next_turn == known:
                await asyncio.sleep(0.05)
        await learner.finish()
        assert learner.wrong == []
        turns = await turns_of(client, stream.started.conversation_id, 2)
    spoken = [each.turn for each in turns if each.turn.source == turn_pb2.UTTERANCE_SOURCE_SPEECH]
    assert [each.number for each in spoken] == [1, 2]
    for turn in spoken:
        assert turn.utterance_end_ms - turn.utterance_start_ms == pytest.approx(700, abs=60)


async def test_a_text_typed_while_the_line_is_cut_is_answered_once(scripted_stack: Stack) -> None:
    async with (
        line(scripted_stack.port) as (wire, port),
        signed_up(port) as client,
        client.converse(START) as stream,
        asyncio.TaskGroup() as group,
    ):
        listener = Listener(stream)
        reading = group.create_task(listener.read())
        await stream.send_text("Before")
        await listener.until("turn_saved")
        cutting = group.create_task(wire.cut(2.0))
        await asyncio.sleep(0.2)
        await stream.send_text("Meanwhile")
        await cutting
        await listener.until("turn_saved", 2)
        await stream.send_text("After")
        await listener.until("turn_saved", 3)
        await stream.finish()
        await reading
        turns = await turns_of(client, stream.started.conversation_id, 3)
    said = [each.turn.utterance.clean for each in turns]
    assert said == ["Before", "Meanwhile", "After"]
