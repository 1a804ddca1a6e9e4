"""`make bench-ghz`: calls a second of the user service and of Converse, beside a bare server.

Parley, on the scripted engine, and a bare grpc.aio server (`bench.ghz_bare`) that answers with the
same bytes are called by ghz in turns, round after round. All servers are held to one core and ghz
to another, so neither takes time from the other, and both servers have the same.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import grpc.aio
import psutil
import typer
from google.protobuf import json_format

from bench import ghz_bare
from bench.ghz_accounts import Accounts, sign_up
from bench.ghz_load import CONFIGS, Load, LoadError, Outcome, run
from bench.ghz_tool import GhzUnavailableError, ghz
from bench.report import Spread, table, write
from gateway.routes import SERVICES, Service
from parley.conversation.v1 import conversation_pb2, conversation_pb2_grpc
from parley.user.v1 import user_pb2, user_pb2_grpc
from tests.stack import Stack

BUDGET = 0.7
"""The least share of the bare server's rate that a unary call of the user service may have."""

TYPED_TURN = CONFIGS / "typed_turn.json"

# Every interpreter meets first calls that cost more: imports, caches, connections.
_WARM_UP_S = 1.0
# Enough calls in progress to keep one core busy; more only wait.
_CONCURRENCY = 16
_CONNECTIONS = 4
# bcrypt takes a quarter of a second of a core: more logins than this would only queue.
_LOGINS_A_SECOND = 2
# A learner may hold three conversations at once, and one that has just ended still counts.
_CONVERSATIONS, _LEARNERS = 8, 8
_READY_TIMEOUT_S = 30.0
_STOP_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Target:
    """A server to call.

    pids: the processes that answer, for their CPU time.
    """

    name: str
    address: str
    pids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Case:
    """A method, how it is called, and the files that each call needs."""

    load: Load
    files: Mapping[str, Path]
    targets: Sequence[Target]


@dataclass(frozen=True, slots=True)
class Round:
    """One run against one target."""

    outcome: Outcome
    cpu_ms: float
    """CPU time a call, in milliseconds, of all the target's processes."""


Measured = dict[str, list[Round]]
"""The rounds of a case, by the target's name."""


@dataclass(frozen=True, slots=True)
class Cores:
    """Which core serves and which one calls; None where processes cannot be held to one."""

    servers: int | None
    load: int | None

    @classmethod
    def choose(cls) -> Cores:
        """Return the first two cores that this process may use."""
        if not hasattr(os, "sched_setaffinity"):
            return cls(None, None)
        usable = sorted(os.sched_getaffinity(0))
        return cls(usable[0], usable[1]) if len(usable) > 1 else cls(None, None)

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Hold this process, and what it starts in the block, to the servers' core."""
        if self.servers is None:
            yield
            return
        before = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {self.servers})
        try:
            yield
        finally:
            os.sched_setaffinity(0, before)


async def record(address: str, token: str, folder: Path) -> None:
    """Write what Parley answers to the calls of this benchmark, for the bare server."""
    metadata = (("authorization", f"Bearer {token}"),)
    async with grpc.aio.insecure_channel(address) as channel:
        user = user_pb2_grpc.UserServiceStub(channel)
        jwks = await user.GetJwks(user_pb2.GetJwksRequest())
        profile = await user.GetProfile(user_pb2.GetProfileRequest(), metadata=metadata)
        conversation = await _one_conversation(channel, metadata)
    (folder / ghz_bare.JWKS).write_bytes(jwks.SerializeToString())
    (folder / ghz_bare.PROFILE).write_bytes(profile.SerializeToString())
    (folder / ghz_bare.CONVERSE).write_bytes(ghz_bare.pack(conversation))


async def _one_conversation(
    channel: grpc.aio.Channel, metadata: grpc.aio.Metadata | tuple[tuple[str, str], ...]
) -> list[conversation_pb2.ConverseResponse]:
    """Hold the typed turn's conversation, and return all that was answered."""
    stub = conversation_pb2_grpc.ConversationServiceStub(channel)
    call = stub.Converse(metadata=metadata)
    requests = [
        json_format.ParseDict(each, conversation_pb2.ConverseRequest())
        for each in json.loads(TYPED_TURN.read_text("utf-8"))
    ]
    answers: list[conversation_pb2.ConverseResponse] = []
    for request, last in zip(requests, ("started", "turn_saved", "ended"), strict=True):
        await call.write(request)
        while not answers or answers[-1].WhichOneof("message") != last:
            answer = await call.read()
            if not isinstance(answer, conversation_pb2.ConverseResponse):
                raise LoadError(f"Converse ended before {last!r}")
            answers.append(answer)
    await call.done_writing()
    return answers


@contextmanager
def running_bare(folder: Path) -> Iterator[Target]:
    """Run the bare server until the block ends.

    Raises:
        LoadError: it did not start.
    """
    command = [sys.executable, "-m", "bench.ghz_bare", str(folder)]
    # Parley runs in a session of its own, and Linux shares out busy cores by session (autogroup).
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    watchdog = threading.Timer(_READY_TIMEOUT_S, process.kill)
    watchdog.start()
    try:
        assert process.stdout is not None
        word, _, port = process.stdout.readline().strip().partition(" ")
        watchdog.cancel()
        if word != "ready":
            raise LoadError("the bare server ended before it was ready")
        yield Target("bare", f"127.0.0.1:{port}", (process.pid,))
    finally:
        watchdog.cancel()
        process.terminate()
        try:
            process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()


def cases(
    stack: Stack, bare: Target, accounts: Accounts, cores: Cores, seconds: float
) -> dict[str, Case]:
    """Return what is measured, by the name of its results."""

    def load(config: str, concurrency: int = _CONCURRENCY, rps: int = 0) -> Load:
        connections = min(_CONNECTIONS, concurrency)
        return Load(config, seconds, concurrency, connections, rps, cores.load)

    user = (stack.pid("user"),)
    every = tuple(stack.pid(name) for name in SERVICES)
    gateway = (stack.pid("gateway"),)

    def targets(service: Service, pids: tuple[int, ...]) -> tuple[Target, ...]:
        direct = Target("direct", f"127.0.0.1:{stack.service_ports[service]}", pids)
        return (direct, bare, Target("gateway", stack.address, pids + gateway))

    token = {"metadata-file": accounts.metadata}
    return {
        "get_jwks": Case(load("get_jwks"), {}, targets("user", user)),
        "get_profile": Case(load("get_profile"), token, targets("user", user)),
        "converse": Case(load("converse", _CONVERSATIONS), token, targets("conversation", every)),
        "login": Case(
            load("login", 2, _LOGINS_A_SECOND),
            {"data-file": accounts.login},
            [Target("gateway", stack.address, user + gateway)],
        ),
    }


def measure(case: Case, tool: Path, rounds: int) -> Measured:
    """Call every target in turn, `rounds` times, after a warm-up of each.

    Raises:
        LoadError: a call failed.
    """
    warm_up = replace(case.load, duration_s=_WARM_UP_S)
    for target in case.targets:
        run(warm_up, tool, target.address, case.files)
    measured: Measured = {target.name: [] for target in case.targets}
    for number in range(rounds):
        # Turned about each time, so that a machine that warms up or slows down favours nobody.
        ordered = case.targets if number % 2 == 0 else tuple(reversed(case.targets))
        for target in ordered:
            before = _cpu_seconds(target.pids)
            outcome = run(case.load, tool, target.address, case.files)
            used = _cpu_seconds(target.pids) - before
            measured[target.name].append(Round(outcome, used * 1000 / outcome.calls))
    return measured


def _cpu_seconds(pids: Sequence[int]) -> float:
    times = [psutil.Process(pid).cpu_times() for pid in pids]
    return sum(each.user + each.system for each in times)


def result_of(measured: Measured) -> dict[str, Any]:
    """Return the JSON fields of a case; see `bench/README.md`."""
    fields: dict[str, Any] = {}
    for name, rounds in measured.items():
        fields[name] = {
            "rate": round(statistics.median(each.outcome.rate for each in rounds), 1),
            "rates": [round(each.outcome.rate, 1) for each in rounds],
            "cpu_ms": round(statistics.median(each.cpu_ms for each in rounds), 4),
            "calls": sum(each.outcome.calls for each in rounds),
            "latency": _median_spread([each.outcome.latency for each in rounds]),
        }
    bare = measured.get("bare")
    if bare:
        for name in measured.keys() - {"bare"}:
            pairs = list(zip(measured[name], bare, strict=True))
            ratios = [one.outcome.rate / other.outcome.rate for one, other in pairs]
            fields[f"ratio_{name}"] = round(statistics.median(ratios), 3)
            fields[f"ratios_{name}"] = [round(each, 3) for each in ratios]
            # The ratio that a core would show which did nothing else: it bears other work on the
            # machine, which takes cores away but adds little to the CPU time of a call.
            by_cpu = [other.cpu_ms / one.cpu_ms for one, other in pairs]
            fields[f"cpu_ratio_{name}"] = round(statistics.median(by_cpu), 3)
    return fields


def _median_spread(spreads: Sequence[Spread]) -> dict[str, float]:
    return {
        f"{field}_ms": round(statistics.median(getattr(each, field) for each in spreads), 3)
        for field in ("p50", "p90", "p95", "p99")
    }


def show(results: Mapping[str, Mapping[str, Any]]) -> None:
    """Print the table, and the ratios that the budget is about."""
    rows = []
    for case, fields in results.items():
        for name in ("bare", "direct", "gateway"):
            if name not in fields:
                continue
            one = fields[name]
            ratio, by_cpu = fields.get(f"ratio_{name}"), fields.get(f"cpu_ratio_{name}")
            rows.append(
                (
                    f"{case} {name}",
                    f"{one['rate']:,.0f}" if one["rate"] >= 100 else f"{one['rate']:.1f}",
                    "" if ratio is None else f"{ratio:.2f}",
                    f"{one['cpu_ms']:.2f}",
                    "" if by_cpu is None else f"{by_cpu:.2f}",
                    f"{one['latency']['p50_ms']:.1f}",
                    f"{one['latency']['p99_ms']:.1f}",
                )
            )
    table(
        "Calls a second, all servers on one core",
        ("", "rate", "of bare", "CPU ms", "by CPU", "p50 ms", "p99 ms"),
        rows,
    )
    for case in ("get_jwks", "get_profile"):
        if case in results:
            fields = results[case]
            typer.echo(
                f"{case}: {fields['ratio_direct']:.2f} of the bare server's rate, "
                f"{fields['cpu_ratio_direct']:.2f} by CPU time; the budget is {BUDGET:g}"
            )


def main(
    rounds: Annotated[int, typer.Option(min=1, help="Runs against each server.")] = 5,
    seconds: Annotated[float, typer.Option(min=1, max=60, help="Length of each run.")] = 3.0,
    only: Annotated[str, typer.Option(help="One of get_jwks, get_profile, converse, login.")] = "",
) -> None:
    """Print and write how many calls a second Parley answers, beside a bare server."""
    try:
        tool = ghz()
        cores = Cores.choose()
        with ExitStack() as running:
            running.enter_context(cores.serving())
            folder = Path(running.enter_context(tempfile.TemporaryDirectory(prefix="parley-ghz-")))
            stack = running.enter_context(Stack(folder / "data"))
            accounts = asyncio.run(sign_up(stack.address, _LEARNERS, folder))
            asyncio.run(record(stack.address, accounts.token, folder))
            bare = running.enter_context(running_bare(folder))
            chosen = cases(stack, bare, accounts, cores, seconds)
            results = {
                name: result_of(measure(case, tool, rounds))
                for name, case in chosen.items()
                if only in ("", name)
            }
    except (GhzUnavailableError, LoadError, OSError) as error:
        raise SystemExit(f"bench-ghz: {error}") from error
    show(results)
    write("ghz", {"pinned": cores.servers is not None, "budget": BUDGET, **results})


if __name__ == "__main__":
    typer.run(main)
