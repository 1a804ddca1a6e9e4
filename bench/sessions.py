"""`make bench-sessions`: live sessions a core, Parley's whole stack and Pipecat, instant models.

Everything that serves (the gateway and all services; Pipecat's one process) is held to one core,
the load to another. Sessions are added until the 99th percentile of frame lateness passes 40 ms;
`bench.sessions_load` says what lateness is, `bench.sessions_verdict` when a count is carried.

Both are given the same work: the same microphone in 20 ms frames, the same scripted recognizer,
language model and synthesizer (Parley's own, wrapped for Pipecat), voice activity by the same
loudness rule, a turn detector that is sure, answers of the same length. Parley runs its real
pipeline engine and stores every turn durably, through its gateway; Pipecat its own pipeline,
storing nothing, without a gateway; `--lean` measures it once more without the parts that a
deployment could leave out. The load is one process for both, on its own core.
"""

from __future__ import annotations

import asyncio
import gc
import math
import os
import secrets
import statistics
import tempfile
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
import uvloop

from bench.peers.environment import PeersUnavailableError
from bench.peers.running import PipecatOptions, running_pipecat
from bench.report import Spread, table, write
from bench.sessions_clients import ParleySession, PipecatSession
from bench.sessions_cpu import CpuUse
from bench.sessions_load import CYCLE_S, Lateness, LoadedSession, Step, phases, step_of
from bench.sessions_overhead import measure_overhead
from bench.sessions_verdict import lateness_ms, verdict
from parley_cli.client.endpoint import parse_endpoint
from parley_cli.client.parley_client import ParleyClient
from tests.stack import Stack

# The search begins with a look at so many, goes on where their CPU time says the core is nearly
# full, or in steps of at least so much; below a count that failed in steps of the last.
_FIRST, _NEARLY_FULL, _GROWTH, _SHRINKING = 8, 0.8, 1.1, 0.8
# The capacity is found to this share of itself.
_RESOLUTION = 0.06
_SETTLE_S = CYCLE_S
_MEASURE_S = 2 * CYCLE_S
_CALIBRATION_S = 3 * CYCLE_S
_PAUSE_S = 1.0
# A session stores its last turn before it ends.
_STOP_S = 10.0
# Sessions begin this far apart: opening is not what is measured.
_OPEN_EVERY_S = 0.05
_SCRIPT = Path(__file__).with_name("sessions_script.toml")
# What one core must carry, by itself and beside Pipecat, and what the platform may add to a turn.
LEAST_SESSIONS, LEAST_RATIO = 60, 3.0
OVERHEAD_P50_MS, OVERHEAD_P99_MS = 15.0, 40.0
# What one account may hold at once (docs/limits.md).
_SESSIONS_A_USER = 3

MakeSession = Callable[[float], LoadedSession]
Listen = Callable[[Sequence[LoadedSession]], Awaitable[object]]
"""What is done while sessions are held."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Cores:
    """Which core serves and which loads; None: the machine has only one, and they share it."""

    server: int | None
    load: int | None

    @classmethod
    def of_this_machine(cls) -> Cores:
        """Take the first two."""
        cores = sorted(os.sched_getaffinity(0))
        return cls(cores[0], cores[1]) if len(cores) > 1 else cls(None, None)

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Have what is started in the block run on the server's core."""
        before = os.sched_getaffinity(0)
        if self.server is not None:
            os.sched_setaffinity(0, {self.server})
        try:
            yield
        finally:
            os.sched_setaffinity(0, before if self.load is None else {self.load})


@dataclass(frozen=True, slots=True)
class Capacity:
    """How many sessions one core carried, and all that was tried."""

    sessions: int
    wait_ms: float
    """The idle server's wait, from which lateness counts."""
    steps: tuple[Step, ...]

    def fields(self) -> dict[str, Any]:
        """Return it as JSON fields."""
        return {
            "sessions_per_core": self.sessions,
            "idle_wait_ms": round(self.wait_ms, 1),
            "steps": [step.fields() for step in self.steps],
        }


@dataclass(frozen=True, slots=True)
class Served:
    """A running server: how to open sessions on it, and where it runs."""

    name: str
    make: MakeSession
    pid: int
    core: int | None


@dataclass(frozen=True, slots=True)
class Load:
    """What is asked of every system alike; Pipecat records nothing whatever is asked."""

    most: int
    seed: int
    recording: bool


async def find_capacity(served: Served, most: int, seed: int) -> Capacity:
    """Add sessions until they are late, then find the limit between the last two counts.

    `seed` says where in their cycle the sessions stand.
    """
    places = phases(most, seed)
    alone = Lateness()
    await _hold(
        served, places[:1], lambda sessions: _record(served, sessions, alone, _CALIBRATION_S)
    )
    if not alone.waits:
        raise RuntimeError(f"{served.name} answered nothing")
    wait_s = statistics.median(alone.waits)
    steps: list[Step] = []

    async def look(sessions: Sequence[LoadedSession]) -> None:
        steps.append(await _record(served, sessions, Lateness(wait_s), CYCLE_S))

    async def carries(count: int) -> bool:
        tries: list[Step] = []

        async def listen(sessions: Sequence[LoadedSession]) -> None:
            while verdict(tries) is None:
                step = await _record(served, sessions, Lateness(wait_s), _MEASURE_S)
                _show(served.name, step)
                tries.append(step)
                if step.failed:
                    return  # A lost session stays lost: the next try takes new ones.

        while (carried := verdict(tries)) is None:
            await _hold(served, places[:count], listen)
        steps.extend(tries)
        return carried

    def next_count() -> int:
        last = steps[-1]
        full = int(_NEARLY_FULL * last.sessions / max(last.server_cores, 0.01))
        return min(most, max(full, math.ceil(last.sessions * _GROWTH)))

    await _hold(served, places[:_FIRST], look)
    good, bad, count = 0, most + 1, next_count()
    steps.clear()
    while good < count < bad:
        if await carries(count):
            good, count = count, next_count()
        else:
            bad, count = count, int(count * _SHRINKING)
    while bad - good > max(1, int(_RESOLUTION * bad)):
        middle = (good + bad) // 2
        if await carries(middle):
            good = middle
        else:
            bad = middle
    return Capacity(good, 1000 * wait_s, tuple(steps))


async def _hold(served: Served, places: Sequence[float], listen: Listen) -> None:
    """Hold a session at each place of the cycle, and `listen` to them once all of them talk."""
    sessions = [served.make(place) for place in places]
    async with asyncio.TaskGroup() as tasks:
        running = []
        for session in sessions:
            running.append(tasks.create_task(session.run()))
            await asyncio.sleep(_OPEN_EVERY_S)
        await asyncio.sleep(_SETTLE_S)
        await listen(sessions)
        for session in sessions:
            session.stop()
        await asyncio.wait(running, timeout=_STOP_S)
        for task in running:
            task.cancel()
    # What was under way ends before the next count begins.
    await asyncio.sleep(_PAUSE_S)


async def _record(
    served: Served, sessions: Sequence[LoadedSession], record: Lateness, seconds: float
) -> Step:
    """Record what the sessions hear for `seconds`."""
    count = len(sessions)
    for session in sessions:
        session.record_to(record)
    before = CpuUse.now(served.pid, served.core)
    await asyncio.sleep(seconds)
    after = CpuUse.now(served.pid, served.core)
    server_cores, others_cores = before.until(after)
    for session in sessions:
        session.record_to(None)
    failures = [session.failed for session in sessions if session.failed]
    cpu_ms = {name: 1000 * cores / count for name, cores in before.by_name(after).items()}
    return step_of(count, record, failures, server_cores, others_cores, cpu_ms)


def _show(name: str, step: Step) -> None:
    print(
        f"{name}: {step.sessions} sessions, lateness p50 {step.p50_ms:.1f} ms, p99 "
        f"{step.p99_ms:.1f} ms; server {step.server_cores:.2f} cores ("
        + ", ".join(f"{name} {each:.1f}" for name, each in step.cpu_ms.items() if each >= 0.1)
        + " ms a session's second)"
        + (f", {step.failed} lost ({step.failure})" if step.failed else "")
        + (
            ""
            if step.is_undisturbed
            else f" [disturbed: load {step.sender_p99_ms:.0f} ms late, others "
            f"{step.others_cores:.2f} of the core]"
        ),
        flush=True,
    )


@asynccontextmanager
async def new_account(address: str) -> AsyncIterator[ParleyClient]:
    """Yield a client that is signed in with an account of its own."""
    async with ParleyClient(parse_endpoint(address)) as client:
        await client.register(f"bench-{secrets.token_hex(6)}", secrets.token_urlsafe(24))
        yield client


@asynccontextmanager
async def parley_sessions(
    address: str, most: int, *, recording: bool = False
) -> AsyncIterator[MakeSession]:
    """Yield what makes Parley's sessions, on enough accounts for `most` of them."""
    async with AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(new_account(address))
            for _ in range(-(-most // _SESSIONS_A_USER))
        ]
        made = 0

        def make(phase: float) -> LoadedSession:
            nonlocal made
            made += 1
            return ParleySession(phase, clients[made % len(clients)], recording=recording)

        yield make


async def measure_parley(
    stack: Stack, core: int | None, load: Load, turns: int
) -> tuple[list[float], Capacity]:
    """Measure the overhead of a turn, then the capacity."""
    async with new_account(stack.address) as client:
        overhead = await measure_overhead(client, turns)
    async with parley_sessions(stack.address, load.most, recording=load.recording) as make:
        served = Served("parley", make, stack.launcher_pid, core)
        return overhead, await find_capacity(served, load.most, load.seed)


def measure_pipecat(cores: Cores, load: Load, *, lean: bool) -> Capacity:
    """Measure Pipecat's capacity."""
    with running_pipecat(PipecatOptions(script=_SCRIPT, lean=lean, cpu=cores.server)) as server:

        def make(phase: float) -> LoadedSession:
            return PipecatSession(phase, server.url)

        name = "pipecat, lean" if lean else "pipecat"
        served = Served(name, make, server.pid, cores.server)
        return run(find_capacity(served, load.most, load.seed))


def run(measuring: Coroutine[Any, Any, T]) -> T:
    """Run the load as lightly as can be, whoever is measured: what it delays is heard late."""
    gc.collect()
    gc.freeze()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(measuring)


def missed_budgets(result: Mapping[str, Any]) -> list[str]:
    """Return what of the budgets was missed, in words.

    Pipecat, which does not record, is compared with what does not either.
    """
    checks = {
        f"a core carries fewer than {LEAST_SESSIONS} sessions": (
            result["parley"]["sessions_per_core"] < LEAST_SESSIONS
        ),
        f"and fewer than {LEAST_RATIO:g} times Pipecat's": (
            not result["recording"] and result.get("ratio", LEAST_RATIO) < LEAST_RATIO
        ),
        f"half of the turns take over {OVERHEAD_P50_MS:g} ms more": (
            result["overhead_p50_ms"] > OVERHEAD_P50_MS
        ),
        f"one in a hundred over {OVERHEAD_P99_MS:g} ms": (
            result["overhead_p99_ms"] > OVERHEAD_P99_MS
        ),
    }
    return [words for words, is_missed in checks.items() if is_missed]


def report(load: Load, overhead: list[float], capacities: dict[str, Capacity]) -> list[str]:
    """Print the table and write the result; return what of the budgets was missed."""
    spread = Spread.of(overhead)
    recorded = "recorded" if load.recording else "not recorded"
    table(
        f"Live sessions on one core, {recorded}, at the random places of seed {load.seed}",
        ("system", "sessions", "p99 lateness there", "idle wait"),
        [
            (
                name.replace("_", ", "),
                str(capacity.sessions),
                _lateness_at(capacity),
                f"{capacity.wait_ms:.0f} ms",
            )
            for name, capacity in capacities.items()
        ],
    )
    print(f"overhead of a turn: p50 {spread.p50:.1f} ms, p99 {spread.p99:.1f} ms")
    result: dict[str, Any] = {
        "seed": load.seed,
        "recording": load.recording,
        **{name: each.fields() for name, each in capacities.items()},
        "overhead_p50_ms": round(spread.p50, 2),
        "overhead_p99_ms": round(spread.p99, 2),
        "overhead_turns": spread.count,
    }
    if "pipecat" in capacities:
        result["ratio"] = round(
            capacities["parley"].sessions / max(1, capacities["pipecat"].sessions), 2
        )
    missed = missed_budgets(result)
    write("sessions", {**result, "missed": missed})
    return missed


def _lateness_at(capacity: Capacity) -> str:
    tries = [step for step in capacity.steps if step.sessions == capacity.sessions]
    return f"{lateness_ms(tries):.0f} ms" if tries else ""


def main(
    most: Annotated[int, typer.Option(help="Sessions at most.")] = 240,
    turns: Annotated[int, typer.Option(help="Turns whose overhead is measured.")] = 100,
    engine: Annotated[str, typer.Option(help="Parley's engine.")] = "scripted-pipeline",
    peer: Annotated[bool, typer.Option(help="Measure Pipecat as well.")] = True,
    lean: Annotated[bool, typer.Option(help="And Pipecat at its fastest.")] = False,
    seed: Annotated[int, typer.Option(help="Where in their cycle the sessions stand.")] = 0,
    recording: Annotated[bool, typer.Option(help="Let Parley record what is said.")] = False,
) -> None:
    """Print and write how many live sessions one core carries."""
    load = Load(most, seed, recording)
    cores = Cores.of_this_machine()
    capacities: dict[str, Capacity] = {}
    with tempfile.TemporaryDirectory(prefix="parley-bench-") as folder:
        settings = {
            "PARLEY_CONVERSATION_MAX_SESSIONS": str(2 * most),
            "PARLEY_AI_SCRIPT": str(_SCRIPT),
        }
        stack = Stack(Path(folder) / "data", engine=engine, settings=settings)
        with cores.serving():
            stack.start()
        try:
            overhead, capacities["parley"] = run(measure_parley(stack, cores.server, load, turns))
        finally:
            stack.stop()
    if peer:
        try:
            capacities["pipecat"] = measure_pipecat(cores, load, lean=False)
            if lean:
                capacities["pipecat_lean"] = measure_pipecat(cores, load, lean=True)
        except PeersUnavailableError as error:
            raise SystemExit(f"bench-sessions: {error}") from error
    if missed := report(load, overhead, capacities):
        raise SystemExit(f"bench-sessions: {'; '.join(missed)}")


if __name__ == "__main__":
    typer.run(main)
