"""Calling servers in turns on cores of their own, and the ratios that come of it."""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import psutil

from bench.ghz_load import Outcome
from bench.report import Spread

# Every interpreter meets first calls that cost more: imports, caches, connections.
_WARM_UP_S = 1.0

COMPARED: Final = (
    ("direct", "direct", "bare"),
    ("gateway", "gateway", "bare_gateway"),
    ("gateway_to_bare", "gateway", "bare"),
)
"""Each ratio's name, and the two targets that it compares."""


@dataclass(frozen=True, slots=True)
class Target:
    """A server to call.

    pids: the processes that answer, for their CPU time.
    """

    name: str
    address: str
    pids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Case:
    """Calls of one method.

    call: calls a target for so many seconds.
    """

    call: Callable[[Target, float], Outcome]
    targets: Sequence[Target]


@dataclass(frozen=True, slots=True)
class Round:
    """One run against one target."""

    outcome: Outcome
    cpu_ms: float
    """CPU time a call, in milliseconds, of all the target's processes."""


Measured = Mapping[str, Sequence[Round]]
"""The rounds of a case, by the target's name."""


@dataclass(frozen=True, slots=True)
class Cores:
    """Which core serves and which one calls; None where processes cannot be held to one."""

    servers: int | None
    load: int | None

    @classmethod
    def choose(cls) -> Cores:
        """Return the first two cores that this process may use."""
        if not hasattr(os, "sched_setaffinity"):
            return cls(None, None)
        usable = sorted(os.sched_getaffinity(0))
        return cls(usable[0], usable[1]) if len(usable) > 1 else cls(None, None)

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Hold this process, and what it starts in the block, to the servers' core."""
        if self.servers is None:
            yield
            return
        before = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {self.servers})
        try:
            yield
        finally:
            os.sched_setaffinity(0, before)


def measure(case: Case, rounds: int, seconds: float) -> Measured:
    """Call every target in turn, `rounds` times, after a warm-up of each.

    Raises:
        LoadError: a call failed.
    """
    for target in case.targets:
        case.call(target, _WARM_UP_S)
    measured: dict[str, list[Round]] = {target.name: [] for target in case.targets}
    for number in range(rounds):
        # Turned about each time, so that a machine that warms up or slows down favours nobody.
        ordered = case.targets if number % 2 == 0 else tuple(reversed(case.targets))
        for target in ordered:
            before = _cpu_seconds(target.pids)
            outcome = case.call(target, seconds)
            used = _cpu_seconds(target.pids) - before
            measured[target.name].append(Round(outcome, used * 1000 / outcome.calls))
    return measured


def _cpu_seconds(pids: Sequence[int]) -> float:
    times = [psutil.Process(pid).cpu_times() for pid in pids]
    return sum(each.user + each.system for each in times)


def result_of(measured: Measured) -> dict[str, Any]:
    """Return the JSON fields of a case; see `bench/README.md`."""
    fields: dict[str, Any] = {}
    for name, rounds in measured.items():
        fields[name] = {
            "rate": round(statistics.median(each.outcome.rate for each in rounds), 1),
            "rates": [round(each.outcome.rate, 1) for each in rounds],
            "cpu_ms": round(statistics.median(each.cpu_ms for each in rounds), 4),
            "calls": sum(each.outcome.calls for each in rounds),
            "latency": _median_spread([each.outcome.latency for each in rounds]),
        }
    for name, ours, theirs in COMPARED:
        if ours in measured and theirs in measured:
            fields |= _ratios(name, measured[ours], measured[theirs])
    return fields


def _ratios(name: str, ours: Sequence[Round], theirs: Sequence[Round]) -> dict[str, Any]:
    pairs = list(zip(ours, theirs, strict=True))
    ratios = [one.outcome.rate / other.outcome.rate for one, other in pairs]
    # The ratio that a core would show which did nothing else: it bears other work on the machine,
    # which takes cores away but adds little to the CPU time of a call.
    by_cpu = [other.cpu_ms / one.cpu_ms for one, other in pairs]
    return {
        f"ratio_{name}": round(statistics.median(ratios), 3),
        f"ratios_{name}": [round(each, 3) for each in ratios],
        f"cpu_ratio_{name}": round(statistics.median(by_cpu), 3),
    }


def _median_spread(spreads: Sequence[Spread]) -> dict[str, float]:
    return {
        f"{field}_ms": round(statistics.median(getattr(each, field) for each in spreads), 3)
        for field in ("p50", "p90", "p95", "p99")
    }
