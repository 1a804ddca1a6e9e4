"""One thing that was looked at, and how it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found of one part.

    what: its name. ok: whether it is well; None where nothing depends on it.
    found: in words. advice: what to do; empty where nothing needs doing.
    figures: the same in numbers, for programs.
    """

    what: str
    ok: bool | None
    found: str
    advice: str = ""
    figures: Mapping[str, int | float | str | None] = field(default_factory=dict)


Figures = dict[str, int | float | str | None]
"""The numbers of a finding, by name."""


def in_bytes(size: int) -> str:
    """Return a size as a person reads it."""
    value = float(size)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" or value >= 100 else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


def lasting(seconds: float) -> str:
    """Return a time as a person tells it."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.0f} h" if seconds < 172_800 else f"{seconds / 86_400:.0f} days"
