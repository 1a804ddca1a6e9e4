"""From start to stop, with fake programs."""

from __future__ import annotations

import asyncio
import errno
import io
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import psutil
import pytest

from launcher import leftovers
from launcher import run as run_module
from launcher.errors import LauncherError, NotReadyError
from launcher.programs import Plan
from launcher.supervision import State, statuses_now
from tests.sockets import answering
from tests.unit.launcher.conftest import MakePlan


async def until(met: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not met():
            await asyncio.sleep(0.05)


async def running(plan: Plan, then: Callable[[], Awaitable[None]]) -> None:
    """Run the plan, and `then` once it is ready."""
    ready = asyncio.Event()
    greet = vars(run_module)["greeting"]

    def greeted(*about: Any) -> str:
        ready.set()
        return greet(*about)

    async def act() -> None:
        await ready.wait()
        await then()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_module, "greeting", greeted)
        async with asyncio.TaskGroup() as group:
            group.create_task(run_module._run(plan))
            group.create_task(act())


async def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def in_order_of_their_stops(plan: Plan) -> list[str]:
    """Return the programs that supervisord stopped."""
    log = plan.folder.log("supervisord").read_text()
    return [line.split()[4] for line in log.splitlines() if " stopped: " in line]


async def test_ctrl_c_ends_the_sessions_before_what_they_need(
    make_plan: MakePlan, capsys: pytest.CaptureFixture[str]
):
    plan = make_plan(user="serve", conversation="serve", history="serve")
    await running(plan, interrupt)
    stopped = in_order_of_their_stops(plan)
    assert stopped[0] == "conversation"
    assert set(stopped) == {"user", "conversation", "history"}
    assert leftovers.find(plan.folder.root) == []
    told = capsys.readouterr().out
    assert "Parley is ready at" in told
    assert told.rstrip().endswith("Stopped.")


async def test_a_terminal_that_is_gone_cuts_no_session_off(
    make_plan: MakePlan, monkeypatch: pytest.MonkeyPatch
):
    """The words of the goodbye could not be printed, and nothing was stopped in order."""

    class Gone(io.StringIO):
        def write(self, _text: str) -> int:
            raise OSError(errno.EIO, "Input/output error")

    async def close_it() -> None:
        monkeypatch.setattr(sys, "stdout", Gone())
        os.kill(os.getpid(), signal.SIGHUP)

    plan = make_plan(user="serve", conversation="serve")
    await running(plan, close_it)
    assert in_order_of_their_stops(plan) == ["conversation", "user"]


def test_the_gateway_is_drained_over_its_socket(make_plan: MakePlan):
    plan = make_plan(gateway="serve")
    said = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nOK\n"
    with answering(said) as (path, heard):
        gateway = plan.gateway.model_copy(update={"admin_socket": path})
        run_module._drain_gateway(replace(plan, gateway=gateway))
    assert heard[0].startswith(b"POST /drain_listeners HTTP/1.1\r\n")


async def test_a_second_ctrl_c_ends_everything_at_once(make_plan: MakePlan):
    plan = make_plan(conversation="ignore", stop_seconds=600)
    started = 0.0

    async def twice() -> None:
        nonlocal started
        started = time.monotonic()
        await interrupt()
        await until(lambda: statuses_now(plan.folder)["conversation"].state is State.STOPPING)
        await interrupt()

    await running(plan, twice)
    assert leftovers.find(plan.folder.root) == []
    assert time.monotonic() - started < 60


async def test_a_failed_start_leaves_nothing(make_plan: MakePlan):
    plan = make_plan(user="serve", ai="quit:3")
    with pytest.raises(NotReadyError, match="it cannot have a port"):
        await run_module._run(plan)
    assert leftovers.find(plan.folder.root) == []


async def test_a_dead_supervisor_is_told_and_its_programs_are_ended(make_plan: MakePlan):
    plan = make_plan(user="serve")

    async def kill_supervisor() -> None:
        for each in leftovers.find(plan.folder.root):
            if "launcher.supervisord" in each.cmdline():
                each.kill()

    with pytest.raises(ExceptionGroup) as caught:
        await running(plan, kill_supervisor)
    assert isinstance(caught.value.exceptions[0], LauncherError)
    assert "supervisor ended" in str(caught.value.exceptions[0])
    # What `run` does when it leaves: the programs had nobody else to end them.
    run_module._clear_leftovers(plan)
    assert leftovers.find(plan.folder.root) == []


async def test_a_program_that_ended_is_told(
    make_plan: MakePlan, capsys: pytest.CaptureFixture[str]
):
    plan = make_plan(user="serve")

    async def kill_user() -> None:
        # The watch must have seen the first process to notice the second.
        await asyncio.sleep(1.5 * run_module._WATCH_SECONDS)
        first = statuses_now(plan.folder)["user"].pid
        psutil.Process(first).kill()
        await until(lambda: statuses_now(plan.folder)["user"].pid not in (0, first))
        await until(lambda: "user ended" in "".join(said))
        await interrupt()

    said: list[str] = []

    async def collect() -> None:
        while True:
            said.append(capsys.readouterr().out)
            await asyncio.sleep(0.1)

    collecting = asyncio.create_task(collect())
    try:
        await running(plan, kill_user)
    finally:
        collecting.cancel()
        await asyncio.gather(collecting, return_exceptions=True)
    assert f"see {plan.folder.log('user')}" in "".join(said)
