"""The whole of Parley as a test runs it: the real launcher, on free ports, with its own data.

    with Stack(tmp_path / "data") as stack:
        channel = grpc.aio.insecure_channel(stack.address)
        stack.kill("history")
        stack.wait_until_healthy("history")

`engine="local"` runs the models of the preset `test` (mark the test `models`); the default is the
scripted engine, which needs none. Every method blocks; in an async test, mind the event loop. A
test that kills a program of a stack it shares is marked `leaves_behind`: its restart stays.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from gateway.routes import SERVICES
from launcher import leftovers
from launcher.certificates import Certificates
from launcher.folder import Folder
from launcher.readiness import healthy, tail_of
from launcher.supervision import State, statuses_now
from parley_models import default_models_dir
from tests.ports import free_ports

READY = "Parley is ready"
"""What the launcher prints when everything can be used."""

START_SECONDS = 120.0
"""A start on a machine that does other things as well."""

STOP_SECONDS = 60.0
"""The longest drain, and the time to close things."""


# As launcher.instances lays them.
_PORTS_APART = 10


class StackError(AssertionError):
    """Parley did not do what the test waits for; the message has the launcher's output."""


class Stack:
    """One running Parley. Enter the block to start it; leaving it stops everything.

    Args:
        data_dir: its data folder; keep the path short, for a socket stands below it.
        engine: what conversations run on: "scripted" or "local".
        settings: further `PARLEY_*` variables.
    """

    def __init__(
        self, data_dir: Path, *, engine: str = "scripted", settings: Mapping[str, str] | None = None
    ) -> None:
        self.folder = Folder(data_dir)
        self.output = data_dir.with_name(f"{data_dir.name}-launcher.txt")
        settings = settings or {}
        # Further processes of the conversation service have theirs above the first one's.
        further = range(1, int(settings.get("PARLEY_SESSION_PROCESSES", "1")))
        self.port, self.websocket_port, *ports = free_ports(
            2 + 2 * len(SERVICES), [_PORTS_APART * each for each in further]
        )
        self.service_ports = dict(zip(SERVICES, ports[::2], strict=True))
        self.environment = {
            **os.environ,
            "PARLEY_DATA_DIR": str(data_dir),
            "PARLEY_MODELS_DIR": str(default_models_dir()),
            "PARLEY_PRESET": "test",
            "PARLEY_AI_ENGINES": json.dumps([engine]),
            "PARLEY_DRAIN_SECONDS": "5",
            "PARLEY_READY_SECONDS": str(START_SECONDS),
            "PARLEY_GATEWAY_PORT": str(self.port),
            "PARLEY_CONVERSATION_WEBSOCKET_PORT": str(self.websocket_port),
        }
        for name, metrics_port in zip(SERVICES, ports[1::2], strict=True):
            prefix = f"PARLEY_{name.upper()}"
            self.environment[f"{prefix}_PORT"] = str(self.service_ports[name])
            self.environment[f"{prefix}_METRICS_PORT"] = str(metrics_port)
        self.environment |= settings
        self.authority: Path | None = None
        """The certificate of who signed the gateway's, where that speaks TLS."""
        if self.environment.get("PARLEY_TLS") == "1":
            self.authority = Certificates(self.folder.tls).authority
        self._launcher: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """Where clients reach it: `host:port` of the gateway."""
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """Where a browser opens it."""
        return f"{'https' if self.authority else 'http'}://localhost:{self.port}"

    @property
    def launcher_pid(self) -> int:
        """The launcher's process."""
        assert self._launcher is not None
        return self._launcher.pid

    def __enter__(self) -> Self:
        """Start it and wait until it is ready."""
        try:
            return self.start()
        except BaseException:
            self.stop()
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop it, however the block ended."""
        self.stop()

    def start(self) -> Self:
        """Start it and wait until it is ready.

        Raises:
            StackError: it ended, or is not ready in time.
        """
        with self.output.open("wb") as output:
            self._launcher = subprocess.Popen(
                [sys.executable, "-m", "launcher"],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        launcher = self._launcher
        self._wait(
            lambda: READY in self.said() or launcher.poll() is not None, "is not ready", 2 * 60
        )
        if READY not in self.said():
            raise StackError(f"the launcher ended with {launcher.returncode}:\n{self.said()}")
        return self

    def stop(self) -> int:
        """Stop it as Ctrl-C does; return the launcher's exit status. Twice does no harm."""
        if self._launcher is None:
            return 0
        if self._launcher.poll() is None:
            self._launcher.send_signal(signal.SIGINT)
        try:
            return self._launcher.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._launcher.kill()
            self._launcher.wait()
            raise StackError(f"the launcher did not stop:\n{self.said()}") from None
        finally:
            leftovers.kill(leftovers.find(self.folder.root))

    def open_to_others(self) -> list[str]:
        """Return what in the data folder, itself included, its owner's group or others may use."""
        root = self.folder.root
        return [
            str(each.relative_to(root))
            for each in (root, *root.rglob("*"))
            if each.lstat().st_mode & 0o077
        ]

    def said(self) -> str:
        """Return what the launcher printed so far."""
        return self.output.read_text("utf-8", "replace") if self.output.exists() else ""

    def log(self, program: str) -> str:
        """Return the log of a service or of the `gateway`."""
        path = self.folder.log(program)
        return path.read_text("utf-8", "replace") if path.exists() else ""

    def logs(self) -> str:
        """Return the ends of all logs, for the message of a failed test."""
        programs = (*SERVICES, "gateway")
        return "\n".join(f"== {name}\n{tail_of(self.folder.log(name))}" for name in programs)

    def pid(self, program: str) -> int:
        """Return the process of a service or of the `gateway`; 0 while it does not run."""
        status = statuses_now(self.folder).get(program)
        return status.pid if status else 0

    def kill(self, program: str, how: signal.Signals = signal.SIGKILL) -> int:
        """Send a signal to a program, wait until that process is gone, and return its id."""
        process = psutil.Process(self.pid(program))
        process.send_signal(how)
        psutil.wait_procs([process], timeout=STOP_SECONDS)
        return process.pid

    def kill_launcher(self) -> None:
        """Kill the launcher, as a crash or an impatient user would."""
        assert self._launcher is not None
        self._launcher.kill()
        self._launcher.wait()

    def wait_until_healthy(self, program: str) -> None:
        """Wait until a service runs and serves, asked through the gateway."""
        service = None if program == "gateway" else program

        def serves() -> bool:
            status = statuses_now(self.folder).get(program)
            up = status is not None and status.state in (State.STARTING, State.RUNNING)
            return up and asyncio.run(healthy(self.address, service, self.authority))

        self._wait(serves, f"{program} is not healthy", START_SECONDS)

    def processes(self) -> list[psutil.Process]:
        """Return every process of it but the launcher."""
        return leftovers.find(self.folder.root)

    def _wait(self, until: Callable[[], bool], otherwise: str, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not until():
            if time.monotonic() > deadline:
                raise StackError(f"{otherwise} after {seconds:g} s:\n{self.said()}\n{self.logs()}")
            time.sleep(0.1)
