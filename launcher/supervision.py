"""supervisord as a child: its configuration, its orders, its end."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import subprocess
import sys
import xmlrpc.client
from dataclasses import dataclass
from enum import StrEnum
from types import TracebackType
from typing import Any, Final, Self

from supervisor.xmlrpc import SupervisorTransport

from launcher.folder import Folder
from launcher.programs import SPREAD, Plan, Program

# A program that lives this long has started. Importing a service takes seconds on a busy machine,
# and what ends before its first call must not be started again without a pause: the pause grows by
# a second each time.
_START_SECONDS = 10
# In a row, before supervisord gives a program up; the launcher then tries again less often.
START_ATTEMPTS = 3
# Sessions end while the services that save them still run.
_PRIORITY, _FIRST_TO_STOP = 500, 900
_LOG_BYTES = 10_000_000
_LOG_COPIES = 3
# Beyond the programs' own times to stop, which supervisord respects one after another.
_SUPERVISORD_SECONDS = 10.0

_HEADER: Final = """\
; Rendered by the launcher at every start; changes are lost.
[supervisord]
nodaemon=true
silent=true
identifier=parley
logfile={log}
logfile_maxbytes=1MB
logfile_backups=1
loglevel=info
pidfile={run}/supervisord.pid
childlogdir={logs}

[unix_http_server]
file={socket}
chmod=0600

[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface
"""

_PROGRAM: Final = """
[program:{name}]
command={command}
environment={environment}
priority={priority}
autostart=true
autorestart=true
startsecs={start_seconds}
startretries={start_attempts}
stopsignal=TERM
stopwaitsecs={stop_seconds}
killasgroup=true
redirect_stderr=true
stdout_logfile={log}
stdout_logfile_maxbytes={log_bytes}
stdout_logfile_backups={log_copies}
"""


_EXITED: Final = re.compile(r"exited: (\S+) \(exit status (\d+);")


class State(StrEnum):
    """supervisord's word for how a program is."""

    STOPPED = "STOPPED"
    STARTING = "STARTING"
    RUNNING = "RUNNING"
    BACKOFF = "BACKOFF"
    STOPPING = "STOPPING"
    EXITED = "EXITED"
    FATAL = "FATAL"
    UNKNOWN = "UNKNOWN"


@dataclass(frozen=True, slots=True)
class Status:
    """How a program is. `pid` is 0 when it does not run."""

    name: str
    state: State
    pid: int
    what: str


def render(folder: Folder, programs: tuple[Program, ...]) -> str:
    """Return supervisord's configuration for these programs, all started at once."""
    header = _HEADER.format(
        log=_escaped(folder.log("supervisord")),
        run=_escaped(folder.run),
        logs=_escaped(folder.logs),
        socket=_escaped(folder.socket),
    )
    sections = (
        _PROGRAM.format(
            name=each.name,
            command=_escaped(shlex.join(each.command)),
            environment=",".join(f'{name}="{value}"' for name, value in each.environment.items()),
            # supervisord, when it must end by itself, stops the highest number first.
            priority=_FIRST_TO_STOP if each.service == SPREAD else _PRIORITY,
            start_seconds=_START_SECONDS,
            start_attempts=START_ATTEMPTS,
            stop_seconds=round(each.stop_seconds),
            log=_escaped(folder.log(each.name)),
            log_bytes=_LOG_BYTES,
            log_copies=_LOG_COPIES,
        )
        for each in programs
    )
    return header + "".join(sections)


def _escaped(value: object) -> str:
    # A percent sign begins an expansion in supervisord's configuration.
    return str(value).replace("%", "%%")


class Supervision:
    """supervisord and what it runs. Entering the block starts them; leaving it stops them.

    with Supervision(plan) as supervision:
        statuses = await supervision.statuses()
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe: int | None = None

    def __enter__(self) -> Self:
        """Write the configuration and start supervisord with every program."""
        folder = self._plan.folder
        folder.supervisor_config.write_text(render(folder, self._plan.programs), "utf-8")
        # A socket left by a killed run would be spoken to before the new one is there.
        folder.socket.unlink(missing_ok=True)
        folder.log("supervisord").unlink(missing_ok=True)
        reading, self._pipe = os.pipe()
        command = (sys.executable, "-m", "launcher.supervisord", str(reading))
        with folder.log("supervisord-output").open("wb") as output:
            self._process = subprocess.Popen(
                [*command, str(folder.supervisor_config)],
                env=dict(self._plan.environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                pass_fds=(reading,),
                # Ctrl-C is for the launcher alone, which stops things in their order.
                start_new_session=True,
            )
        os.close(reading)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop whatever still runs, and wait for it."""
        if self._pipe is not None:
            os.close(self._pipe)
            self._pipe = None
        if self._process is None:
            return
        longest = max(each.stop_seconds for each in self._plan.programs)
        try:
            self._process.wait(longest + _SUPERVISORD_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    @property
    def exit_code(self) -> int | None:
        """Exit status of supervisord; None while it runs."""
        return self._process.poll() if self._process else None

    async def statuses(self) -> dict[str, Status]:
        """Return how every program is; empty while supervisord itself starts."""
        try:
            listed = await self._ask("getAllProcessInfo")
        except (OSError, xmlrpc.client.Error):
            return {}
        return {each["name"]: _status(each) for each in listed}

    def ends(self) -> dict[str, list[int]]:
        """Return with which statuses each program ended by itself in this run, the last one last.

        Read from the log: supervisord tells a caller nothing of a program that ends too soon.
        """
        try:
            text = self._plan.folder.log("supervisord").read_text("utf-8", "replace")
        except FileNotFoundError:
            return {}
        found: dict[str, list[int]] = {}
        for name, status in _EXITED.findall(text):
            found.setdefault(name, []).append(int(status))
        return found

    async def start(self, name: str) -> None:
        """Start a program that was given up. It may be up already."""
        await self._order("startProcess", name)

    async def stop(self, *names: str) -> None:
        """Stop the programs together and wait until the last has ended."""
        await asyncio.gather(*(self._order("stopProcess", name) for name in names))

    async def _order(self, method: str, name: str) -> None:
        try:
            await self._ask(method, name)
        except (OSError, xmlrpc.client.Error):
            # It is as it should be already, or supervisord is gone and the caller will see that.
            return

    async def _ask(self, method: str, *arguments: Any) -> Any:
        return await asyncio.to_thread(ask, self._plan.folder, method, *arguments)


def ask(folder: Folder, method: str, *arguments: Any) -> Any:
    """Call a method of the supervisord that runs on `folder`.

    Raises:
        OSError: none runs there.
        xmlrpc.client.Fault: it refuses.
    """
    transport = SupervisorTransport(None, None, f"unix://{folder.socket}")
    try:
        proxy = xmlrpc.client.ServerProxy("http://parley", transport=transport, allow_none=True)
        return getattr(proxy.supervisor, method)(*arguments)
    finally:
        transport.close()


def statuses_now(folder: Folder) -> dict[str, Status]:
    """Return how the programs are that run on `folder`; empty when nothing does."""
    try:
        listed = ask(folder, "getAllProcessInfo")
    except (OSError, xmlrpc.client.Error):
        return {}
    return {each["name"]: _status(each) for each in listed}


def _status(info: dict[str, Any]) -> Status:
    return Status(
        name=info["name"],
        state=State(info["statename"]),
        pid=info["pid"],
        what=info["description"],
    )
