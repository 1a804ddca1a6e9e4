"""What a server uses of its core, and what everybody else uses of it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Self

import psutil


@dataclass(frozen=True, slots=True)
class CpuUse:
    """CPU seconds: of a server's processes by id, and of the cores it may use, all told."""

    at_s: float
    processes: dict[int, float]
    names: dict[int, str]
    busy: float

    @classmethod
    def now(cls, pid: int, core: int | None) -> Self:
        """Read the use of `pid` and all its children, and of `core` (None: of none)."""
        root = psutil.Process(pid)
        processes, names = {}, {}
        for process in [root, *root.children(recursive=True)]:
            try:
                cpu = process.cpu_times()
                names[process.pid] = _name(process.cmdline())
            except psutil.NoSuchProcess:
                continue
            processes[process.pid] = cpu.user + cpu.system
        busy = 0.0
        if core is not None:
            times = psutil.cpu_times(percpu=True)[core]
            busy = sum(times) - times.idle - getattr(times, "iowait", 0.0)
        return cls(time.monotonic(), processes, names, busy)

    def until(self, later: Self) -> tuple[float, float]:
        """Return the cores that the server used up to `later`, and the others of its core."""
        seconds = later.at_s - self.at_s
        used = sum(cpu - self.processes.get(pid, 0.0) for pid, cpu in later.processes.items())
        others = max(0.0, later.busy - self.busy - used) if later.busy else 0.0
        return used / seconds, others / seconds

    def by_name(self, later: Self) -> dict[str, float]:
        """Return the cores that each of the server's programs used up to `later`."""
        seconds = later.at_s - self.at_s
        used: dict[str, float] = {}
        for pid, cpu in later.processes.items():
            name = later.names[pid]
            used[name] = used.get(name, 0.0) + (cpu - self.processes.get(pid, 0.0)) / seconds
        return used


def _name(command: list[str]) -> str:
    """Return the service that a command line runs; "gateway" for Envoy, else "other"."""
    for word in command:
        if word.startswith("services."):
            return word.removeprefix("services.")
        if word.endswith("pipecat_server"):
            return "pipecat"
    return "gateway" if command and "envoy" in command[0] else "other"
