"""One run of ghz: its command line, its bounds, and what it found."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.report import Spread

CONFIGS = Path(__file__).parent / "ghz_files"
ROOT = Path(__file__).resolve().parents[1]

# What a run takes beyond its duration: start, connections, the last answers, the report.
_OVERHEAD_S = 30.0
_NS_PER_MS = 1e6


class LoadError(Exception):
    """A run failed or some of its calls did; the message says which."""


@dataclass(frozen=True, slots=True)
class Load:
    """How to call.

    config: the file's name in `bench/ghz_files/`, without `.json`.
    duration_s: how long calls are begun; those in progress then are waited for.
    concurrency: calls in progress at once, spread over `connections`.
    rps: calls begun a second at most; 0: as fast as they are answered.
    cpu: the core that ghz is held to; None: any.
    """

    config: str
    duration_s: float
    concurrency: int
    connections: int
    rps: int = 0
    cpu: int | None = None

    def command(self, ghz: Path, address: str, files: Mapping[str, Path]) -> list[str]:
        """Return the command line. `files` are options that name one, such as `data-file`.

        Secrets travel in files: a command line is read by every user of the machine.
        """
        command = [
            str(ghz),
            f"--config={CONFIGS / self.config}.json",
            f"--duration={self.duration_s:g}s",
            "--duration-stop=wait",
            f"--concurrency={self.concurrency}",
            f"--connections={self.connections}",
            "--format=json",
            *(f"--{option}={path}" for option, path in files.items()),
        ]
        if self.rps:
            command.append(f"--rps={self.rps}")
        if self.cpu is not None:
            command = ["taskset", "--cpu-list", str(self.cpu), *command, "--cpus=1"]
        return [*command, address]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one run measured."""

    calls: int
    seconds: float
    latency: Spread

    @property
    def rate(self) -> float:
        """Calls answered a second."""
        return self.calls / self.seconds


def run(load: Load, ghz: Path, address: str, files: Mapping[str, Path]) -> Outcome:
    """Call `address` as `load` says.

    Raises:
        LoadError: ghz failed, or any call was not answered with OK.
    """
    command = load.command(ghz, address, files)
    try:
        done = subprocess.run(
            command,
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            timeout=load.duration_s + _OVERHEAD_S,
        )
    except subprocess.TimeoutExpired:
        raise LoadError(f"{load.config}: ghz did not end") from None
    if done.returncode != 0:
        raise LoadError(f"{load.config}: ghz failed: {(done.stderr or done.stdout).strip()[-500:]}")
    return outcome(load.config, json.loads(done.stdout))


def outcome(name: str, report: Mapping[str, Any]) -> Outcome:
    """Return what the JSON report of a run says.

    Raises:
        LoadError: a call failed, or none was made. A server that refuses is fast: a rate with
            failures in it says nothing.
    """
    failures = report.get("errorDistribution") or {}
    if failures:
        kinds = "; ".join(f"{count} times {error}" for error, count in list(failures.items())[:3])
        raise LoadError(f"{name}: {sum(failures.values())} of {report['count']} failed: {kinds}")
    calls: Sequence[Mapping[str, Any]] = report.get("details") or ()
    if not calls:
        raise LoadError(f"{name}: no call was made")
    latency = Spread.of([each["latency"] / _NS_PER_MS for each in calls])
    return Outcome(len(calls), report["total"] / 1e9, latency)
