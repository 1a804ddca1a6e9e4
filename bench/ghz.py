"""`make bench-ghz`: calls a second of the user service and of Converse, beside a bare server.

Parley, on the scripted engine, and a bare grpc.aio server (`bench.ghz_bare`) that answers with the
same bytes are called by ghz in turns, round after round: straight, and each behind an Envoy of the
same configuration. All servers are held to one core and ghz to another, so neither takes time from
the other, and both servers have the same.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import grpc.aio
import typer

from bench.ghz_accounts import Accounts, sign_up
from bench.ghz_load import ROOT, Load, LoadError, Outcome, run
from bench.ghz_measure import Case, Cores, Target, measure, result_of
from bench.ghz_peers import record, running_bare, running_gateway
from bench.ghz_tool import GhzUnavailableError, ghz
from bench.report import Spread, table, write
from gateway.routes import SERVICES, Service
from parley.user.v1 import user_pb2, user_pb2_grpc
from tests.stack import Stack

BUDGET = 0.7
"""The least share of the bare server's rate that a unary call of the user service may have."""

READS = ("get_jwks", "get_profile", "list_sessions")
WRITES = ("update_profile", "refresh")

# Enough calls in progress to keep one core busy; more only wait.
_CONCURRENCY = 16
_CONNECTIONS = 4
# bcrypt takes a quarter of a second of a core: more logins than this would only queue.
_LOGINS_A_SECOND = 2
# A learner may hold three conversations at once, and one that has just ended still counts.
_CONVERSATIONS, _LEARNERS = 8, 8
# Sessions whose refresh tokens are changed at once: a token's successor is known when it comes.
_CHAINS = 8
# What a run of refreshes takes beyond its duration.
_OVERHEAD_S = 30.0


@dataclass(frozen=True, slots=True)
class Servers:
    """All that is called: Parley, the bare server, and the same gateway in front of that."""

    stack: Stack
    bare: Target
    bare_gateway: Target

    def targets(self, service: Service, counted: tuple[Service, ...]) -> tuple[Target, ...]:
        """Return the ways to `service`; the processes of `counted` bear its cost."""
        pids = tuple(self.stack.pid(name) for name in counted)
        direct = Target("direct", f"127.0.0.1:{self.stack.service_ports[service]}", pids)
        return direct, self.bare, self.gateway(*counted), self.bare_gateway

    def gateway(self, *counted: Service) -> Target:
        """Return the way through Parley's gateway."""
        pids = tuple(self.stack.pid(name) for name in (*counted, "gateway"))
        return Target("gateway", self.stack.address, pids)


Call = Callable[[Target, float], Outcome]


def cases(servers: Servers, accounts: Accounts, tool: Path, core: int | None) -> dict[str, Case]:
    """Return what is measured, by the name of its results."""

    def calls(
        config: str, files: Mapping[str, Path], concurrency: int = _CONCURRENCY, rps: int = 0
    ) -> Call:
        def call(target: Target, seconds: float) -> Outcome:
            connections = min(_CONNECTIONS, concurrency)
            load = Load(config, seconds, concurrency, connections, rps, core)
            return run(load, tool, target.address, files)

        return call

    user = servers.targets("user", ("user",))
    token = {"metadata-file": accounts.metadata}
    login = calls("login", {"data-file": accounts.login}, 2, _LOGINS_A_SECOND)
    folder = accounts.metadata.parent
    return {
        "get_jwks": Case(calls("get_jwks", {}), user),
        "get_profile": Case(calls("get_profile", token), user),
        "list_sessions": Case(calls("list_sessions", token), user),
        "update_profile": Case(calls("update_profile", token), user),
        "refresh": Case(
            lambda target, seconds: _refreshes(target, seconds, folder, core),
            # Through the gateway the client, a Python program, would be what is measured.
            user[:2],
        ),
        "converse": Case(
            calls("converse", token, _CONVERSATIONS), servers.targets("conversation", SERVICES)
        ),
        "login": Case(login, [servers.gateway("user")]),
    }


def _refreshes(target: Target, seconds: float, folder: Path, core: int | None) -> Outcome:
    command = [sys.executable, "-m", "bench.ghz_refresh", target.address]
    command += [str(_chains_file(folder, target.name)), f"{seconds:g}"]
    if core is not None:
        command = ["taskset", "--cpu-list", str(core), *command]
    done = subprocess.run(
        command,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=seconds + _OVERHEAD_S,
    )
    if done.returncode != 0:
        raise LoadError(f"refresh: {done.stderr.strip()[-500:]}")
    report = json.loads(done.stdout)
    latencies = report["latencies_ms"]
    return Outcome(len(latencies), report["seconds"], Spread.of(latencies))


def _chains_file(folder: Path, name: str) -> Path:
    return folder / f"chains-{name}.json"


async def _sign_in_often(address: str, folder: Path) -> str:
    """Write the refresh tokens that chains begin with; return one more, for the recording.

    They are of an account of their own, for the others' lists of sessions must be equally long.
    """
    name, password = f"ghz-{secrets.token_hex(6)}", secrets.token_urlsafe(24)
    async with grpc.aio.insecure_channel(address) as channel:
        stub = user_pb2_grpc.UserServiceStub(channel)
        await stub.Register(user_pb2.RegisterRequest(username=name, password=password))
        request = user_pb2.LoginRequest(username=name, password=password)
        tokens = [(await stub.Login(request)).tokens.refresh_token for _ in range(_CHAINS + 1)]
    for name in ("direct", "bare"):
        _chains_file(folder, name).write_text(json.dumps(tokens[1:]), "utf-8")
    return tokens[0]


def show(results: Mapping[str, Mapping[str, Any]]) -> None:
    """Print the table, and the ratios that the budget is about."""
    against = {"direct": "direct", "gateway": "gateway"}
    rows = []
    for case, fields in results.items():
        for name in ("bare", "direct", "bare_gateway", "gateway"):
            if name not in fields:
                continue
            one = fields[name]
            ratio = fields.get(f"ratio_{against.get(name, '')}")
            by_cpu = fields.get(f"cpu_ratio_{against.get(name, '')}")
            rows.append(
                (
                    f"{case} {name.replace('_', ' ')}",
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
    missed = misses(results)
    for case in (*READS, *WRITES):
        if case in results:
            fields = results[case]
            typer.echo(
                f"{case}: {fields['ratio_direct']:.2f} of the bare server's rate, "
                f"{fields['cpu_ratio_direct']:.2f} by CPU time; the budget of {BUDGET:g} is "
                f"{'MISSED' if case in missed else 'met'}"
                + (" (each call commits durably)" if case in WRITES else "")
            )


def misses(results: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return the unary calls that have less of the bare server's rate than the budget."""
    return [
        case
        for case in (*READS, *WRITES)
        if case in results and results[case]["ratio_direct"] < BUDGET
    ]


def main(
    rounds: Annotated[int, typer.Option(min=1, help="Runs against each server.")] = 5,
    seconds: Annotated[float, typer.Option(min=1, max=60, help="Length of each run.")] = 3.0,
    only: Annotated[str, typer.Option(help="One case, such as get_profile.")] = "",
    uncached: Annotated[bool, typer.Option(help="Let every read go to the database.")] = False,
) -> None:
    """Print and write how many calls a second Parley answers, beside a bare server."""
    try:
        tool = ghz()
        cores = Cores.choose()
        settings = {"PARLEY_USER_ACCOUNT_CACHE_SECONDS": "0"} if uncached else {}
        with ExitStack() as running:
            running.enter_context(cores.serving())
            folder = Path(running.enter_context(tempfile.TemporaryDirectory(prefix="parley-ghz-")))
            stack = running.enter_context(Stack(folder / "data", settings=settings))
            accounts = asyncio.run(sign_up(stack.address, _LEARNERS, folder))
            refresh_token = asyncio.run(_sign_in_often(stack.address, folder))
            messages = asyncio.run(record(stack.address, accounts.token, refresh_token, folder))
            bare = running.enter_context(running_bare(folder))
            bare_gateway = running.enter_context(running_gateway(bare, stack, folder))
            servers = Servers(stack, bare, bare_gateway)
            chosen = cases(servers, accounts, tool, cores.load)
            results = {
                name: result_of(measure(case, rounds, seconds))
                for name, case in chosen.items()
                if only in ("", name)
            }
    except (GhzUnavailableError, LoadError, OSError) as error:
        raise SystemExit(f"bench-ghz: {error}") from error
    show(results)
    if "converse" in results:
        results["converse"]["messages"] = messages
    write(
        "ghz-uncached" if uncached else "ghz",
        {
            "pinned": cores.servers is not None,
            "cached": not uncached,
            "budget": BUDGET,
            "missed": misses(results),
            **results,
        },
    )
    # Writes wait for the disk, which the bare server's one row does not show; and without the
    # memory of accounts reads are known to miss: that run only says by how much.
    late_reads = [case for case in misses(results) if case in READS and not uncached]
    if late_reads:
        raise SystemExit(f"bench-ghz: below the budget: {', '.join(late_reads)}")


if __name__ == "__main__":
    typer.run(main)
