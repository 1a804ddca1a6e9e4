"""`make bench-login-timing`: whether a refused login's time tells if there is such a user.

A guesser who could tell known names from unknown ones would know whom to guess at. Three kinds of
refused login are timed: a known name, an unknown one, and a known one whose password was hashed
when less work was asked for.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from bench.report import Spread, table, write
from parley.user.v1 import user_pb2
from parley.user.v1.user_pb2_grpc import UserServiceStub
from services.common.lifecycle import running
from services.common.status import from_rpc_error
from services.user.bootstrap import bootstrap
from services.user.settings import UserSettings

BUDGET_MS = 5.0
_PASSWORD = "three odd words"  # noqa: S105 - of an account that lives for this run
_KNOWN, _UNKNOWN, _OLDER = "known_name", "unknown_name", "known_name_older_hash"
# The first calls open connections and fill caches.
_WARM_UP = 3


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; return 1 where the times tell the kinds apart, 2 where nothing does."""
    parser = argparse.ArgumentParser(description="Time refused logins.")
    parser.add_argument("--tries", type=int, default=200, help="refused logins of each kind")
    parser.add_argument("--cost", type=int, default=12, help="bcrypt's cost")
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="login-timing-") as folder:
        try:
            times = asyncio.run(_measure(Path(folder), chosen.tries, chosen.cost))
        except NoRefusalError as error:
            print(f"Unusable: {error}", file=sys.stderr)
            return 2
    spreads = {kind: Spread.of(values) for kind, values in times.items()}
    medians = [spread.p50 for spread in spreads.values()]
    difference = max(medians) - min(medians)
    table(
        f"Refused logins, ms (bcrypt cost {chosen.cost})",
        ["login", "p50", "p95", "count"],
        [
            [kind, f"{spread.p50:.2f}", f"{spread.p95:.2f}", str(spread.count)]
            for kind, spread in spreads.items()
        ],
    )
    print(f"largest difference of medians {difference:.2f} ms; the budget is {BUDGET_MS:.0f} ms")
    write(
        "login-timing",
        {
            "bcrypt_cost": chosen.cost,
            **{kind: spread.fields() for kind, spread in spreads.items()},
            "difference_of_medians_ms": round(difference, 3),
        },
    )
    return int(difference >= BUDGET_MS)


async def _measure(folder: Path, tries: int, cost: int) -> dict[str, list[float]]:
    older = _settings(folder, cost - 2)
    async with running("user", older, bootstrap) as service:
        await _register(service.address, _OLDER)
    async with running("user", _settings(folder, cost), bootstrap) as service:
        await _register(service.address, _KNOWN)
        async with grpc.aio.insecure_channel(service.address) as channel:
            return await _timed(UserServiceStub(channel), tries)


def _settings(folder: Path, cost: int) -> UserSettings:
    return UserSettings(
        data_dir=folder, port=0, metrics_port=0, bcrypt_cost=cost, login_attempts=1000
    )


async def _register(address: str, username: str) -> None:
    async with grpc.aio.insecure_channel(address) as channel:
        stub: Any = UserServiceStub(channel)
        await stub.Register(user_pb2.RegisterRequest(username=username, password=_PASSWORD))


async def _timed(stub: Any, tries: int) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {_KNOWN: [], _UNKNOWN: [], _OLDER: []}
    kinds = list(times) * _WARM_UP
    order = list(times) * tries
    random.Random(0).shuffle(order)
    for number, kind in zip(itertools.count(), (*kinds, *order), strict=False):
        request = user_pb2.LoginRequest(username=kind, password=f"a wrong guess {number}")
        began = time.perf_counter()
        await refused(stub, request)
        if number >= len(kinds):
            times[kind].append(1000 * (time.perf_counter() - began))
    return times


class NoRefusalError(Exception):
    """A login ended in another way than wrong credentials do, so nothing was measured."""


async def refused(stub: Any, request: user_pb2.LoginRequest) -> None:
    """Sign in with what is wrong.

    Raises:
        NoRefusalError: it was not refused for that: it got in, waited, or was not even looked at.
    """
    try:
        await stub.Login(request)
    except grpc.aio.AioRpcError as error:
        told = from_rpc_error(error)
        if told.reason == "BAD_CREDENTIALS":
            return
        raise NoRefusalError(
            f"a login ended with {told.code.name} {told.reason}, not BAD_CREDENTIALS."
        ) from error
    raise NoRefusalError("a wrong password got in.")


if __name__ == "__main__":
    sys.exit(main())
