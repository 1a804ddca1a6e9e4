"""Programs are killed and lines cut in the middle of talks: every client goes on by itself, and no
turn is lost or doubled. The talks run on the real pipeline over scripted models, so what was said
is recognized, speculated on, and heard again after a kill.

`make test` breaks something six times; any other number, at some twenty seconds each:

    RESUME_BREAKS=30 make test ARGS=tests/e2e/test_resume.py

RESUME_SEED chooses other moments.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from launcher.supervision import State, statuses_now
from parley.conversation.v1 import conversation_pb2
from parley.history.v1 import history_pb2
from parley.types.v1 import turn_pb2
from parley_cli.client.endpoint import parse_endpoint
from parley_cli.client.parley_client import ParleyClient
from parley_cli.failures import CliFailure
from tests.e2e.steady_learner import SteadyLearner
from tests.fault.line import Line, line
from tests.stack import Stack

BREAKS = int(os.environ.get("RESUME_BREAKS", "6"))
SEED = int(os.environ.get("RESUME_SEED", "1"))
LEARNERS = 3
ENGINE = "scripted-pipeline"
# As long as a network may drop; `make test` has less time.
LONGEST_CUT_S = 30.0 if BREAKS >= 30 else 4.0
PROGRAMS = ("conversation", "ai", "gateway")
KINDS = (*PROGRAMS, "cut", "stall")
# Nobody's connection survives these.
DISCONNECTING = ("kill conversation", "kill gateway", "cut")

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240 + 60 * BREAKS)]


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    """A Parley of its own: everything in it is killed."""
    with Stack(tmp_path / "d", engine=ENGINE) as one:
        yield one


async def until_running(stack: Stack, program: str) -> None:
    """Wait until a program has run for a while: its supervisor would hold it back before."""
    async with asyncio.timeout(60):
        while True:
            status = (await asyncio.to_thread(statuses_now, stack.folder)).get(program)
            if status is not None and status.state is State.RUNNING:
                return
            await asyncio.sleep(0.1)


async def break_something(stack: Stack, wire: Line, kind: str, random: Random) -> str:
    """Kill a program, or cut or stall the line; return what was done, once it is whole again."""
    if kind in PROGRAMS:
        await until_running(stack, kind)
        killed = await asyncio.to_thread(stack.kill, kind)
        await asyncio.to_thread(stack.wait_until_healthy, kind)
        assert stack.pid(kind) != killed
        return f"kill {kind}"
    seconds = random.uniform(0.1, LONGEST_CUT_S)
    if kind == "stall":
        await wire.stall(seconds)
    else:
        await wire.cut(seconds)
    return f"{'stall' if kind == 'stall' else 'cut'} for {seconds:.1f} s"


async def break_things(
    stack: Stack, wire: Line, learners: list[SteadyLearner], done: asyncio.Event
) -> list[str]:
    """Break one thing after another at random moments of live talks."""
    random = Random(SEED)
    plan = [KINDS[index % len(KINDS)] for index in range(BREAKS)]
    random.shuffle(plan)
    broken = []
    for kind in plan:
        known = [learner.next_turn for learner in learners]
        # Everybody is in the middle of something again, and somewhere else in it.
        async with asyncio.timeout(120):
            while any(one.next_turn == was for one, was in zip(learners, known, strict=True)):
                await asyncio.sleep(0.05)
        await asyncio.sleep(random.uniform(0, 3))
        broken.append(await break_something(stack, wire, kind, random))
    done.set()
    return broken


async def turns_of(client: ParleyClient, conversation_id: str, count: int) -> list[turn_pb2.Turn]:
    """Return what history has, once it has `count` turns."""
    request = history_pb2.GetConversationRequest(conversation_id=conversation_id)
    found: list[turn_pb2.Turn] = []
    for _ in range(150):
        with contextlib.suppress(CliFailure):
            response = await client.call(client.history.GetConversation, request)
            found = [each.turn for each in response.turns]
            if len(found) >= count:
                break
        await asyncio.sleep(0.2)
    return found


async def take_leave(learner: SteadyLearner) -> None:
    """Take one more turn, with everything whole, and end the session."""
    await learner.one_turn()
    await learner.finish()


async def hold(stack: Stack, wire: Line, clients: list[ParleyClient]) -> list[str]:
    """Let everybody talk while things break; check what came of it, and return what broke."""
    done = asyncio.Event()
    async with contextlib.AsyncExitStack() as streams, asyncio.TaskGroup() as group:
        learners, ids = [], []
        for client in clients:
            start = conversation_pb2.StartSession(engine=ENGINE)
            stream = await streams.enter_async_context(client.converse(start))
            ids.append(stream.started.conversation_id)
            learners.append(SteadyLearner(stream))
        for learner in learners:
            learner.start(group)
        talks = [group.create_task(learner.talk(done)) for learner in learners]
        broken = await break_things(stack, wire, learners, done)
        await asyncio.gather(*talks)
        # All at once: who has to wait for the others is silent, and gets a hint.
        await asyncio.gather(*map(take_leave, learners))
    disconnected = sum(one.startswith(DISCONNECTING) for one in broken)
    for client, learner, conversation_id in zip(clients, learners, ids, strict=True):
        assert learner.wrong == [], broken
        found = await turns_of(client, conversation_id, learner.summary.turns)
        assert [turn.number for turn in found] == list(range(1, len(found) + 1)), broken
        kept = {turn.number: turn.turn_id for turn in found}
        assert learner.saved.items() <= kept.items(), broken
        assert learner.summary.turns == learner.summary.turns_saved == len(found), broken
        assert all(turn.utterance.verbatim for turn in found), "what was said was recognized"
        # Everybody took a turn before each break, and came back after each that cut them off.
        assert len(found) > BREAKS, broken
        assert learner.resumed >= disconnected, broken
    return broken


async def test_every_client_goes_on_and_no_turn_is_lost_or_doubled(stack: Stack) -> None:
    async with contextlib.AsyncExitStack() as open_clients, line(stack.port) as (wire, port):
        clients = []
        for _ in range(LEARNERS):
            client = ParleyClient(parse_endpoint(f"127.0.0.1:{port}"))
            clients.append(await open_clients.enter_async_context(client))
            await client.register(f"ana-{secrets.token_hex(4)}", secrets.token_urlsafe(24))
        broken = await hold(stack, wire, clients)
    for program in PROGRAMS:
        assert broken.count(f"kill {program}") >= BREAKS // len(KINDS), broken
