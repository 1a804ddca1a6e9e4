"""What a talk costs in CPU time, by what uses it: the client's processes, and Parley's own.

CPU time tells on any machine why an answer is late: where models and client share few cores, what
the one takes the other waits for.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any, Self

import psutil
from playwright.async_api import Browser, CDPSession

from tests.stack import Stack

# As Chromium names its processes, and as a reader knows them.
_KINDS = {"renderer": "page", "GPU": "drawing"}
_OTHER_KIND = "browser"

_MODELS, _OTHERS = "models", ("conversation", "gateway")


class CpuMeter:
    """Reads the CPU seconds that everything has used so far."""

    def __init__(self, stack: Stack, session: CDPSession) -> None:
        self._session = session
        self._models = psutil.Process(stack.pid("ai"))
        self._others = [psutil.Process(stack.pid(name)) for name in _OTHERS]

    @classmethod
    async def of(cls, stack: Stack, browser: Browser) -> Self:
        """Make one for a running Parley and a browser."""
        return cls(stack, await browser.new_browser_cdp_session())

    async def read_browser(self) -> dict[str, float]:
        """Return what each process of the browser and of Parley has used."""
        answer = await self._session.send("SystemInfo.getProcessInfo")
        return by_process(answer["processInfo"]) | self._read_services()

    async def read_terminal(self) -> dict[str, float]:
        """Return what this process, in which the terminal client runs, and Parley have used."""
        return {"terminal": time.process_time()} | self._read_services()

    def _read_services(self) -> dict[str, float]:
        others = sum(_cpu_s(each) for each in self._others)
        return {_MODELS: _cpu_s(self._models), "services": others}


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def by_process(told: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """Return Chromium's own account of its processes: "kind id" to CPU seconds."""
    return {
        f"{_KINDS.get(each['type'], _OTHER_KIND)} {each['id']}": float(each["cpuTime"])
        for each in told
    }


def used(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """Return what was used between two readings, by kind; a process may have begun meanwhile."""
    found: dict[str, float] = {}
    for name, seconds in after.items():
        kind = name.partition(" ")[0]
        found[kind] = found.get(kind, 0.0) + seconds - before.get(name, 0.0)
    return found
