"""Mixed load for a long time, a third of it broken off: memory, files and tasks must stay flat.

    python -m tests.fault.soak --seconds 600        (`make test-soak`)
    python -m tests.fault.soak --seconds 7200

Learners talk by voice and by text, look at what was said, and play it; of their streams three in
ten are cancelled at a random moment. Every program's resident memory, open files and tasks are
looked at all along; the end prints a table and leaves a picture. Exit status 1: one grew.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import secrets
import sys
import tempfile
import time
import urllib.request
from collections import Counter, defaultdict
from pathlib import Path
from random import Random

import grpc.aio
import matplotlib as mpl
import psutil

from parley.conversation.v1 import conversation_pb2
from parley.history.v1 import history_pb2
from parley.media.v1 import media_pb2
from parley_cli.client.endpoint import parse_endpoint
from parley_cli.client.parley_client import ParleyClient
from parley_cli.failures import CliFailure
from services.common.errors import ParleyError
from tests.e2e.caller import Caller, RawTalk
from tests.e2e.steady_learner import SteadyLearner
from tests.fault.steady import Allowance, judge
from tests.fault.world import PROGRAMS
from tests.stack import Stack

mpl.use("agg")
from matplotlib import pyplot as plt

PICTURE = Path("test-output/soak.png")
LEARNERS = 4
CANCELLED = 0.3

# The allocator keeps what it got for a while, and a figure moves with what is in progress.
ALLOWED = {
    "memory_mib": Allowance(share=0.06, at_least=8),
    "files": Allowance(share=0.05, at_least=8),
    "tasks": Allowance(share=0.1, at_least=12),
}

Samples = dict[tuple[str, str], list[float]]


def main() -> int:
    """Run it; return the exit status."""
    parser = argparse.ArgumentParser(description="Mixed load for a long time.")
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--learners", type=int, default=LEARNERS)
    chosen = parser.parse_args()
    settings = {"PARLEY_USER_BCRYPT_COST": "4", "PARLEY_MEDIA_RESUME_SECONDS": "5"}
    # A cancelled stream is a client that may come back; here none does.
    settings |= {"PARLEY_CONVERSATION_RESUME_SECONDS": "5"}
    with (
        tempfile.TemporaryDirectory(prefix="parley-soak-") as folder,
        Stack(Path(folder) / "d", settings=settings) as stack,
    ):
        done, samples = asyncio.run(soak(stack, chosen.seconds, chosen.learners, chosen.seed))
    print(", ".join(f"{count} {what}" for what, count in sorted(done.items())))
    steady = table(samples)
    draw(samples, chosen.seconds)
    print(f"drawn in {PICTURE}")
    return 0 if steady else 1


async def soak(
    stack: Stack, seconds: float, learners: int, seed: int
) -> tuple[Counter[str], Samples]:
    """Let `learners` do things for so long; return what they did and what was seen meanwhile."""
    until = time.monotonic() + seconds
    done: Counter[str] = Counter()
    samples: Samples = defaultdict(list)
    async with asyncio.TaskGroup() as group:
        looking = group.create_task(look(stack, max(1.0, seconds / 240), samples))
        loads = [
            group.create_task(one_learner(stack, until, Random(seed * 1_000 + number), done))
            for number in range(learners)
        ]
        await asyncio.gather(*loads)
        looking.cancel()
    return done, samples


# --- the load -----------------------------------------------------------------------------------


async def one_learner(stack: Stack, until: float, random: Random, done: Counter[str]) -> None:
    """Do one thing after another, by a new sign-in every few minutes."""
    kinds = (by_text, by_text, by_voice, look_back)
    # About as long as each takes: what is cut is in the middle of something.
    lasts_s = {by_text: 0.25, by_voice: 4.0, look_back: 0.05}
    while time.monotonic() < until:
        async with ParleyClient(parse_endpoint(stack.address)) as client:
            await client.register(f"ana-{secrets.token_hex(4)}", secrets.token_urlsafe(24))
            for _ in range(20):
                if time.monotonic() >= until:
                    break
                kind = random.choice(kinds)
                broken_off = random.random() < CANCELLED
                cut_s = random.uniform(0.0, lasts_s[kind]) if broken_off else None
                name = kind.__name__.replace("_", " ")
                try:
                    async with asyncio.timeout(cut_s):
                        await kind(stack, client)
                    done[name] += 1
                except TimeoutError:
                    done[f"{name}, broken off"] += 1
                except (ParleyError, CliFailure, grpc.aio.AioRpcError) as failure:
                    done[f"{name}, refused: {failure}"] += 1


async def by_text(stack: Stack, client: ParleyClient) -> None:
    """Type two messages; broken off, the call is cancelled with all that it waits for."""
    caller = Caller(stack.address)
    try:
        caller.token = await client.access_token()
        talk = RawTalk(caller)
        try:
            await talk.start()
            for text in ("Hello", "I like to cook"):
                await talk.send(text={"text": text})
                await talk.until("turn_saved")
            await talk.send(finish={})
            await talk.until("ended")
        finally:
            talk.call.cancel()
    finally:
        await caller.channel.close()


async def by_voice(_stack: Stack, client: ParleyClient) -> None:
    """Say something and hear the answer."""
    start = conversation_pb2.StartSession(engine="scripted")
    async with client.converse(start) as stream, asyncio.TaskGroup() as group:
        learner = SteadyLearner(stream)
        learner.start(group)
        await learner.one_turn()
        await learner.finish()


async def look_back(_stack: Stack, client: ParleyClient) -> None:
    """Read, search and play what was said."""
    listed = await client.call(
        client.history.ListConversations, history_pb2.ListConversationsRequest()
    )
    await client.call(client.history.SearchTurns, history_pb2.SearchTurnsRequest(query="cook"))
    for each in listed.conversations[:2]:
        if each.recording_id:
            request = media_pb2.DownloadRecordingRequest(recording_id=each.recording_id)
            async for _ in client.stream(client.media.DownloadRecording, request):
                pass


# --- what is seen -------------------------------------------------------------------------------


async def look(stack: Stack, every_s: float, samples: Samples) -> None:
    """Look at every program, again and again."""
    while True:
        await asyncio.sleep(every_s)
        for program in PROGRAMS:
            for figure, value in (await asyncio.to_thread(figures, stack, program)).items():
                samples[program, figure].append(value)


def figures(stack: Stack, program: str) -> dict[str, float]:
    """Return what a program takes now."""
    process = psutil.Process(stack.pid(program))
    found = {"memory_mib": process.memory_info().rss / 2**20, "files": float(process.num_fds())}
    port = stack.environment.get(f"PARLEY_{program.upper()}_METRICS_PORT")
    if port is not None:
        with contextlib.closing(urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics")) as page:
            lines = page.read().decode().splitlines()
        found["tasks"] = next(
            float(line.split()[1]) for line in lines if line.startswith("parley_tasks ")
        )
    return found


def table(samples: Samples) -> bool:
    """Print what each figure came to; return whether all stayed where they were."""
    print("| program | figure, at its lowest | after the warm-up | at the end | may grow by | |")
    print("|---|---|---|---|---|---|")
    steady = True
    for (program, figure), values in samples.items():
        found = judge(values, ALLOWED[figure])
        steady &= found.is_steady
        said = "steady" if found.is_steady else "GROWS"
        numbers = f"{found.first:.1f} | {found.last:.1f} | {found.allowed:.1f}"
        print(f"| {program} | {figure} | {numbers} | {said} |")
    return steady


def draw(samples: Samples, seconds: float) -> None:
    """Leave a picture of it all."""
    PICTURE.parent.mkdir(exist_ok=True)
    plot, axes = plt.subplots(len(ALLOWED), 1, sharex=True, figsize=(9, 9))
    for (program, figure), values in samples.items():
        at = [seconds / 60 * index / len(values) for index in range(len(values))]
        axes[list(ALLOWED).index(figure)].plot(at, values, label=program)
    for axis, figure in zip(axes, ALLOWED, strict=True):
        axis.set_ylabel(figure.replace("_mib", ", MiB"))
        axis.set_ylim(bottom=0)
        axis.legend(fontsize="small", ncols=3)
    axes[-1].set_xlabel("minutes")
    plot.tight_layout()
    plot.savefig(PICTURE, dpi=120)


if __name__ == "__main__":
    sys.exit(main())
