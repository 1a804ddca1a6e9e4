"""`make bench-login-flood`: whether a flood of logins makes live conversations late.

Some learners talk; then somebody guesses passwords, as many at once as the user service lets wait,
without pause; then it is quiet again. All of Parley shares one core, so every hash takes its time
from somebody. What the learners hear is measured throughout, as `make bench-sessions` does.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import secrets
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from bench.login_timing import NoRefusalError, refused
from bench.report import table, write
from bench.sessions import Cores, parley_sessions
from bench.sessions_load import CYCLE_S, Lateness, LoadedSession, Step, step_of
from parley.user.v1 import user_pb2
from parley.user.v1.user_pb2_grpc import UserServiceStub
from tests.stack import Stack

BUDGET_MS = 40.0
"""What counts as late, DESIGN's budget of live sessions."""

_MEASURE_S = 4 * CYCLE_S
_OPEN_EVERY_S = 0.1
_SETTLE_S = CYCLE_S
_STOP_S = 10.0
# Fewer than the 32 that may wait: each of them is hashed, none refused.
_GUESSERS = 24


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; return its verdict, see `verdict`."""
    parser = argparse.ArgumentParser(description="Measure talks under a flood of logins.")
    parser.add_argument("--sessions", type=int, default=20, help="live conversations")
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="parley-bench-") as folder:
        stack = Stack(Path(folder) / "data", engine="scripted-pipeline")
        with Cores.of_this_machine().serving():
            stack.start()
        try:
            steps, flood = asyncio.run(_measure(stack.address, chosen.sessions))
        finally:
            stack.stop()
    guesses = flood.guesses
    table(
        f"{chosen.sessions} conversations; {guesses} logins refused meanwhile",
        ["", "late p50 ms", "late p99 ms", "answers"],
        [
            [name, f"{step.p50_ms:.1f}", f"{step.p99_ms:.1f}", str(step.answers)]
            for name, step in steps.items()
        ],
    )
    write(
        "login-flood",
        {"guesses": guesses, **{name: step.fields() for name, step in steps.items()}},
    )
    status, said = verdict(steps, guesses, flood.failed)
    if said:
        print(said, file=sys.stderr)
    return status


def verdict(steps: Mapping[str, Step], guesses: int, failed: str = "") -> tuple[int, str]:
    """Return the exit status, and what is to be said of it.

    0: the talks were in time; 1: the flood made them late; 2: nothing can be said, for there was no
    flood, something was not heard, or the talks were late without one. `failed` says how a guess
    ended that was not refused for its password.
    """
    if failed:
        return 2, f"Unusable: {failed}"
    unheard = [
        name for name, step in steps.items() if not step.answers or step.missing or step.failed
    ]
    if unheard:
        return 2, f"Unusable: not everything was heard in: {', '.join(unheard)}."
    if not guesses:
        return 2, "Unusable: no login was refused, so there was no flood."
    if not steps["quiet"].p99_ms <= BUDGET_MS:
        return 2, "Unusable: the talks were late without a flood; this machine is busy."
    if not steps["flood"].p99_ms <= BUDGET_MS:
        return 1, "The flood made the talks late."
    return 0, ""


async def _measure(address: str, count: int) -> tuple[dict[str, Step], _Flood]:
    async with parley_sessions(address, count) as make, asyncio.TaskGroup() as tasks:
        alone = make(0.0)
        calibration = Lateness()
        await _held(tasks, [alone], [calibration])
        if not calibration.waits:
            raise RuntimeError(f"a single conversation was not answered: {alone.failed or 'late'}")
        wait_s = statistics.median(calibration.waits)
        records = {name: Lateness(wait_s) for name in ("quiet", "flood", "after")}
        sessions = [make(index / count) for index in range(count)]
        flood = _Flood(address)
        await _held(tasks, sessions, list(records.values()), flood)
    failures = [each.failed for each in sessions if each.failed]
    steps = {name: step_of(count, record, failures, 0.0) for name, record in records.items()}
    return steps, flood


async def _held(
    tasks: asyncio.TaskGroup,
    sessions: Sequence[LoadedSession],
    records: Sequence[Lateness],
    flood: _Flood | None = None,
) -> None:
    """Hold the sessions while one record after another is filled, the second under the flood."""
    running = []
    for session in sessions:
        running.append(tasks.create_task(session.run()))
        await asyncio.sleep(_OPEN_EVERY_S)
    await asyncio.sleep(_SETTLE_S)
    for number, record in enumerate(records):
        guessing = flood.begin(tasks) if flood is not None and number == 1 else []
        for session in sessions:
            session.record_to(record)
        await asyncio.sleep(_MEASURE_S)
        for session in sessions:
            session.record_to(None)
        for guesser in guessing:
            guesser.cancel()
    for session in sessions:
        session.stop()
    await asyncio.wait(running, timeout=_STOP_S)
    for task in running:
        task.cancel()


class _Flood:
    """Guessers that never pause, until a guess ends in another way than by its password.

    failed: how it did; empty as long as none has.
    """

    def __init__(self, address: str) -> None:
        self._address = address
        self.guesses = 0
        self.failed = ""

    def begin(self, tasks: asyncio.TaskGroup) -> list[asyncio.Task[None]]:
        """Let them guess until their tasks are cancelled."""
        return [tasks.create_task(self._guess()) for _ in range(_GUESSERS)]

    async def _guess(self) -> None:
        async with grpc.aio.insecure_channel(self._address) as channel:
            stub: Any = UserServiceStub(channel)
            for number in itertools.count():
                request = user_pb2.LoginRequest(
                    username=f"nobody-{secrets.token_hex(4)}", password=f"a guess {number}"
                )
                try:
                    await refused(stub, request)
                except NoRefusalError as error:
                    self.failed = str(error)
                    return
                self.guesses += 1


if __name__ == "__main__":
    sys.exit(main())
