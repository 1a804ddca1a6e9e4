"""supervisord, with fake programs."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Mapping
from pathlib import Path

import psutil
import pytest

from launcher import leftovers
from launcher.errors import NotReadyError
from launcher.folder import Folder
from launcher.programs import Plan, Program
from launcher.readiness import Phase, Progress, wait_until_ready
from launcher.supervision import State, Status, Supervision, render, statuses_now
from tests.unit.launcher.conftest import MakePlan


async def until(supervision: Supervision, name: str, state: State) -> Status:
    async with asyncio.timeout(20):
        while True:
            status = (await supervision.statuses()).get(name)
            if status and status.state is state:
                return status
            await asyncio.sleep(0.05)


def show_nothing(progress: Mapping[str, Progress]) -> None:
    """Take progress, and show nothing."""


async def until_gone(data_dir: Path) -> None:
    async with asyncio.timeout(20):
        while leftovers.find(data_dir):
            await asyncio.sleep(0.05)


class TestConfiguration:
    def test_a_path_with_spaces_and_percent_signs_stays_one_word(self):
        folder = Folder(Path("/data/100% mine"))
        program = Program("user", ("/my programs/python", "-m", "x%y"), "127.0.0.1:1", 5)
        text = render(folder, (program,))
        assert "command='/my programs/python' -m x%%y" in text
        assert "file=/data/100%% mine/run/supervisor.sock" in text

    def test_every_program_is_started_again_when_it_ends(self):
        programs = tuple(Program(n, ("true",), "127.0.0.1:1", 5) for n in ("user", "ai"))
        assert render(Folder(Path("/data")), programs).count("autorestart=true") == 2


class TestReadiness:
    async def test_it_is_reached_when_every_program_serves(self, make_plan: MakePlan):
        plan = make_plan(user="serve", ai="serve")
        seen: list[dict[str, Phase]] = []
        with Supervision(plan) as supervision:
            await wait_until_ready(
                plan,
                supervision,
                lambda progress: seen.append({n: p.phase for n, p in progress.items()}),
            )
        assert seen[-1] == {"user": Phase.READY, "ai": Phase.READY}

    async def test_wrong_settings_are_told_with_the_log_at_once(self, make_plan: MakePlan):
        plan = make_plan(user="serve", ai="quit:2")
        started = time.monotonic()
        with Supervision(plan) as supervision, pytest.raises(NotReadyError) as caught:
            await wait_until_ready(plan, supervision, show_nothing)
        assert "The ai service does not start: its settings are wrong" in str(caught.value)
        assert "PARLEY_AI_PRESET: no such preset" in str(caught.value)
        assert time.monotonic() - started < plan.settings.ready_seconds

    async def test_a_program_that_keeps_ending_is_given_up(
        self, make_plan: MakePlan, monkeypatch: pytest.MonkeyPatch
    ):
        monkeypatch.setattr("launcher.supervision.START_ATTEMPTS", 1)
        plan = make_plan(ai="quit:1", ready_seconds=60)
        with (
            Supervision(plan) as supervision,
            pytest.raises(NotReadyError, match="The ai service does not start"),
        ):
            await wait_until_ready(plan, supervision, show_nothing)

    async def test_a_program_that_is_never_ready_ends_the_wait(self, make_plan: MakePlan):
        plan = make_plan(user="serve", ai="sleep", ready_seconds=3)
        with Supervision(plan) as supervision, pytest.raises(NotReadyError) as caught:
            await wait_until_ready(plan, supervision, show_nothing)
        assert "The ai service is not ready after 3 s" in str(caught.value)
        assert "PARLEY_READY_SECONDS" in str(caught.value)


class TestLife:
    async def test_a_killed_program_comes_back(self, make_plan: MakePlan):
        plan = make_plan(user="serve")
        with Supervision(plan) as supervision:
            first = await until(supervision, "user", State.RUNNING)
            os.kill(first.pid, signal.SIGKILL)
            async with asyncio.timeout(20):
                while (again := await until(supervision, "user", State.RUNNING)).pid == first.pid:
                    await asyncio.sleep(0.05)
            assert again.pid != first.pid

    async def test_leaving_the_block_leaves_no_process(self, make_plan: MakePlan):
        plan = make_plan(user="serve", ai="serve")
        with Supervision(plan) as supervision:
            await until(supervision, "user", State.RUNNING)
            assert len(leftovers.find(plan.folder.root)) == 3
        assert leftovers.find(plan.folder.root) == []

    async def test_a_program_that_does_not_end_is_killed(self, make_plan: MakePlan):
        plan = make_plan(ai="ignore", stop_seconds=1)
        with Supervision(plan) as supervision:
            await wait_until_ready(plan, supervision, show_nothing)
            await supervision.stop("ai")
            assert (await supervision.statuses())["ai"].state is State.STOPPED

    async def test_what_was_given_up_can_be_started_again(
        self, make_plan: MakePlan, monkeypatch: pytest.MonkeyPatch
    ):
        monkeypatch.setattr("launcher.supervision.START_ATTEMPTS", 0)
        plan = make_plan(ai="quit:1")
        with Supervision(plan) as supervision:
            await until(supervision, "ai", State.FATAL)
            attempts = plan.folder.log("ai").read_text().count("no such preset")
            await supervision.start("ai")
            await until(supervision, "ai", State.FATAL)
            assert plan.folder.log("ai").read_text().count("no such preset") > attempts

    async def test_statuses_are_empty_where_nothing_runs(self, make_plan: MakePlan):
        assert statuses_now(make_plan(user="serve").folder) == {}


LAUNCHER = """
    import signal, sys
    from pathlib import Path
    from launcher.folder import Folder
    from launcher.supervision import Supervision
    from gateway.settings import GatewaySettings
    from launcher.programs import Plan, Program
    from launcher.settings import LauncherSettings
    import os
    from launcher import supervision
    supervision._START_SECONDS = 1
    root, fake, port = sys.argv[1:]
    folder = Folder(Path(root))
    program = Program("user", (sys.executable, fake, port), f"127.0.0.1:{port}", 5)
    plan = Plan(folder, LauncherSettings(data_dir=root), GatewaySettings(), (program,), (),
                {**os.environ, "PARLEY_STACK": root}, False)
    Supervision(plan).__enter__()
    signal.pause()
"""


class TestSuddenDeath:
    @pytest.fixture
    def killed(self, make_plan: MakePlan):
        """A launcher in a process of its own, which the test kills, and its plan."""
        plan = make_plan(user="serve")
        program = plan.programs[0]
        command = [sys.executable, "-c", textwrap.dedent(LAUNCHER), str(plan.folder.root)]
        launcher = subprocess.Popen([*command, *program.command[1:3]])
        try:
            deadline = time.monotonic() + 20
            while "user" not in running(plan) and time.monotonic() < deadline:
                time.sleep(0.05)
            assert running(plan) == {"user"}
            yield plan, launcher
        finally:
            launcher.kill()
            launcher.wait()
            leftovers.end(leftovers.find(plan.folder.root))

    async def test_a_killed_launcher_takes_everything_with_it(self, killed):
        plan, launcher = killed
        launcher.kill()
        launcher.wait()
        await until_gone(plan.folder.root)

    async def test_what_outlives_a_killed_supervisor_is_found_and_ended(self, killed):
        plan, launcher = killed
        supervisord = next(
            each
            for each in leftovers.find(plan.folder.root)
            if "launcher.supervisord" in each.cmdline()
        )
        launcher.kill()
        launcher.wait()
        supervisord.kill()
        psutil.wait_procs([supervisord], timeout=5)
        left = leftovers.find(plan.folder.root)
        assert [each.cmdline()[1] for each in left] == [plan.programs[0].command[1]]
        leftovers.end(left)
        assert leftovers.find(plan.folder.root) == []


def running(plan: Plan) -> set[str]:
    statuses = statuses_now(plan.folder).values()
    return {each.name for each in statuses if each.state is State.RUNNING}
