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
    busy: float

    @classmethod
    def now(cls, pid: int, core: int | None) -> Self:
        """Read the use of `pid` and all its children, and of `core` (None: of none)."""
        root = psutil.Process(pid)
        processes = {}
        for process in [root, *root.children(recursive=True)]:
            try:
                cpu = process.cpu_times()
            except psutil.NoSuchProcess:
                continue
            processes[process.pid] = cpu.user + cpu.system
        busy = 0.0
        if core is not None:
            times = psutil.cpu_times(percpu=True)[core]
            busy = sum(times) - times.idle - getattr(times, "iowait", 0.0)
        return cls(time.monotonic(), processes, busy)

    def until(self, later: Self) -> tuple[float, float]:
        """Return the cores that the server used up to `later`, and the others of its core."""
        seconds = later.at_s - self.at_s
        used = sum(cpu - self.processes.get(pid, 0.0) for pid, cpu in later.processes.items())
        others = max(0.0, later.busy - self.busy - used) if later.busy else 0.0
        return used / seconds, others / seconds
