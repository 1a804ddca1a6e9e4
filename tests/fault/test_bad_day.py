"""Programs and servers are killed under live talks: Parley's, PostgreSQL, Redis and S3.

What was acknowledged is there afterwards: no turn lost, doubled, reordered or halved, each as its
client was told it (`judgement`), and every recording plays. `make test` kills a few; `make
test-fault` a hundred, and prints a table. Now and then Redis is emptied besides.

    FAULTS=100 FAULT_SEED=2 make test-fault
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
from collections import Counter
from dataclasses import dataclass, field
from random import Random

import pytest

from parley.conversation.v1 import conversation_pb2
from parley_cli.client.endpoint import parse_endpoint
from parley_cli.client.parley_client import ParleyClient
from tests.e2e.steady_learner import SteadyLearner
from tests.e2e.told import BROKEN_OFF
from tests.fault.judgement import Finding, Wrong, judge
from tests.fault.keeping import played_ms, recording_of, turns_in_history
from tests.fault.world import FLUSH, PROGRAMS, SERVERS, World

FAULTS = int(os.environ.get("FAULTS", "3"))
SEED = int(os.environ.get("FAULT_SEED", "1"))
LEARNERS = 3
# A talk is ended and another begun after so many faults: recordings are completed all along.
FAULTS_A_TALK = 10
EVERYTHING = (*PROGRAMS, *SERVERS)
FLUSHES = 1 + FAULTS // 10
# Where there is time for a few only, those of this campaign's own; the e2e tests kill the others.
SHORT = ("postgresql", "redis", "conversation")

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(300 + 40 * FAULTS),
    pytest.mark.leaves_behind("a running Parley that the tests share, and what it restarted"),
]


@dataclass(slots=True)
class Tally:
    """What was broken, and what became of what was said."""

    broken: Counter[str] = field(default_factory=Counter)
    talks: int = 0
    resumed: int = 0
    turns: int = 0
    broken_off: int = 0
    said: int = 0
    found: list[Finding] = field(default_factory=list)
    recordings: int = 0
    played_s: float = 0.0
    wrong: list[str] = field(default_factory=list)

    def table(self) -> str:
        """Return it as lines for people."""
        rows = [f"| {what} | {count} |" for what, count in sorted(self.broken.items())]
        return "\n".join(
            [
                f"| fault (seed {SEED}) | times |",
                "|---|---|",
                *rows,
                "",
                (
                    f"{self.talks} talks, resumed {self.resumed} times: {self.said} things said, "
                    f"{self.turns} turns, {self.broken_off} of them declared as broken off; "
                    + ", ".join(f"{count} {wrong}" for wrong, count in self.wrong_turns().items())
                    + f"; {self.recordings} recordings played, {self.played_s:.0f} s of sound"
                ),
                *map(str, self.found),
            ]
        )

    def wrong_turns(self) -> dict[Wrong, int]:
        """Return how many findings there are of each kind."""
        count = Counter(each.wrong for each in self.found)
        return {wrong: count[wrong] for wrong in Wrong}


def plan(random: Random) -> list[str]:
    """Return what to break, one after another: everything is killed about as often."""
    kinds = EVERYTHING if len(EVERYTHING) <= FAULTS else SHORT
    faults = [kinds[index % len(kinds)] for index in range(FAULTS)]
    faults += [FLUSH] * FLUSHES
    random.shuffle(faults)
    return faults


async def test_whatever_dies_no_turn_is_lost_doubled_or_reordered_and_every_recording_plays(
    whole: World,
) -> None:
    random, tally = Random(SEED), Tally()
    faults = plan(random)
    count = len(faults)
    async with contextlib.AsyncExitStack() as open_clients:
        clients = []
        for _ in range(LEARNERS):
            client = ParleyClient(parse_endpoint(whole.stack.address))
            clients.append(await open_clients.enter_async_context(client))
            await client.register(f"ana-{secrets.token_hex(4)}", secrets.token_urlsafe(24))
        while faults:
            some, faults = faults[:FAULTS_A_TALK], faults[FAULTS_A_TALK:]
            await talk_through(whole, clients, some, random, tally)
            print(f"{sum(tally.broken.values())} of {count}: {tally.turns} turns", flush=True)
    print(f"\n{tally.table()}")
    assert tally.wrong == []
    assert tally.found == []
    # A break is a reason for one broken answer to each; more are no bad day's, but Parley's.
    assert tally.broken_off <= LEARNERS * count
    assert sum(tally.broken.values()) == count
    assert tally.recordings == tally.talks


async def talk_through(
    world: World, clients: list[ParleyClient], faults: list[str], random: Random, tally: Tally
) -> None:
    """Let everybody hold a talk while `faults` come, and look at what came of it."""
    done = asyncio.Event()
    async with contextlib.AsyncExitStack() as streams, asyncio.TaskGroup() as group:
        learners, ids = [], []
        for client in clients:
            start = conversation_pb2.StartSession(engine="scripted")
            stream = await streams.enter_async_context(client.converse(start))
            ids.append(stream.started.conversation_id)
            learners.append(SteadyLearner(stream, types=True))
        for learner in learners:
            learner.start(group)
        talks = [group.create_task(learner.talk(done)) for learner in learners]
        for what in faults:
            await everybody_goes_on(learners)
            await asyncio.sleep(random.uniform(0, 3))
            tally.broken[await asyncio.to_thread(world.break_one, what)] += 1
        done.set()
        await asyncio.gather(*talks)
        for learner in learners:
            await learner.one_turn()
            await learner.finish()
    for client, learner, conversation_id in zip(clients, learners, ids, strict=True):
        await look(client, learner, conversation_id, tally)


async def everybody_goes_on(learners: list[SteadyLearner]) -> None:
    """Wait until each is in the middle of something again, and somewhere else in it."""
    known = [learner.next_turn for learner in learners]
    async with asyncio.timeout(150):
        while any(one.next_turn == was for one, was in zip(learners, known, strict=True)):
            await asyncio.sleep(0.05)


async def look(
    client: ParleyClient, learner: SteadyLearner, conversation_id: str, tally: Tally
) -> None:
    """Hold what is kept of a talk against what was said, and told, in it."""
    found = await turns_in_history(client, conversation_id, learner.summary.turns)
    tally.talks += 1
    tally.resumed += learner.resumed
    tally.said += len(learner.said)
    tally.turns += len(found)
    tally.broken_off += sum(turn.reply_end_reason in BROKEN_OFF for turn in found)
    tally.found += judge(learner.said, learner.told.turns, found)
    tally.wrong += learner.wrong
    if not learner.summary.turns == learner.summary.turns_saved == len(found):
        summary = learner.summary
        tally.wrong.append(
            f"{summary.turns} turns, {summary.turns_saved} saved, {len(found)} in history"
        )
    recording = await recording_of(client, conversation_id)
    length_ms = await played_ms(client, recording.recording_id)
    if abs(length_ms - recording.duration_ms) > 100:
        tally.wrong.append(f"a recording of {recording.duration_ms} ms plays {length_ms} ms")
    tally.recordings += 1
    tally.played_s += length_ms / 1000
