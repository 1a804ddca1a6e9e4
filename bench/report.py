"""What every benchmark prints and writes: a table for people, JSON for programs.

Results go to `bench/results/NAME.json` (not committed); `bench/README.md` documents the fields.
"""

from __future__ import annotations

import json
import math
import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True, slots=True)
class Spread:
    """The distribution of some measurements, all in one unit (milliseconds unless said)."""

    p50: float
    p90: float
    p95: float
    p99: float
    smallest: float
    largest: float
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Summarise `values`.

        Raises:
            ValueError: when there are none; a benchmark without a measurement has no result.
        """
        if not values:
            raise ValueError("no measurements")
        ordered = sorted(values)
        return cls(
            p50=statistics.median(ordered),
            p90=percentile(ordered, 90),
            p95=percentile(ordered, 95),
            p99=percentile(ordered, 99),
            smallest=ordered[0],
            largest=ordered[-1],
            count=len(ordered),
        )

    def fields(self, unit: str = "ms") -> dict[str, float | int]:
        """Return the numbers as JSON fields, the unit in the name."""
        return {
            f"p50_{unit}": round(self.p50, 3),
            f"p90_{unit}": round(self.p90, 3),
            f"p95_{unit}": round(self.p95, 3),
            f"p99_{unit}": round(self.p99, 3),
            f"min_{unit}": round(self.smallest, 3),
            f"max_{unit}": round(self.largest, 3),
            "count": self.count,
        }


def percentile(ordered: Sequence[float], percent: float) -> float:
    """Return the nearest-rank percentile of values in ascending order."""
    rank = max(1, math.ceil(percent / 100 * len(ordered)))
    return ordered[rank - 1]


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table; the first column is text, the others are numbers."""
    drawn = Table(title=title, title_justify="left")
    for index, column in enumerate(columns):
        drawn.add_column(column, justify="left" if index == 0 else "right")
    for row in rows:
        drawn.add_row(*row)
    Console().print(drawn)


def write(name: str, result: Mapping[str, Any]) -> Path:
    """Write `bench/results/NAME.json`, with what the machine is, and say where."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"{name}.json"
    document = {"benchmark": name, "machine": machine(), **result}
    path.write_text(json.dumps(document, indent=2, sort_keys=False) + "\n", "utf-8")
    Console().print(f"written: {path.relative_to(RESULTS.parent.parent)}")
    return path


def machine() -> dict[str, Any]:
    """Describe the machine, as far as a reader needs it to compare."""
    return {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpus": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "processor": _processor(),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()}",
    }


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
