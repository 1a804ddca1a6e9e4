"""The picture of `bench-web`: the waits, what a browser adds to them, and the round trips."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np

mpl.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.axes import Axes


def plot(
    waits_ms: Mapping[str, Sequence[float]],
    beyond_ms: Mapping[str, Sequence[float]],
    trips_ms: Mapping[str, Mapping[str, Sequence[float]]],
    path: Path,
) -> None:
    """Draw everything by client; `trips_ms` is by distance first. Write a PNG."""
    figure, axes = plt.subplots(3, 1, figsize=(8, 11), layout="constrained")
    _distributions(axes[0], waits_ms, "end of speech to first sound of the answer (ms)")
    _beyond(axes[1], beyond_ms)
    together = {
        f"{name}, {where}": each for where, of in trips_ms.items() for name, each in of.items()
    }
    _distributions(axes[2], together, "round trip of a frame (ms)")
    figure.savefig(path, dpi=150)
    plt.close(figure)


def _distributions(axes: Axes, of: Mapping[str, Sequence[float]], label: str) -> None:
    for name, values in of.items():
        if values:
            shares = np.arange(1, len(values) + 1) / len(values)
            axes.step(sorted(values), shares, where="post", label=name)
    axes.axhline(0.5, color="grey", linewidth=0.5)
    axes.set(xlabel=label, ylabel="share", xlim=(0, None), ylim=(0, 1))
    axes.grid(alpha=0.3)
    if any(of.values()):
        axes.legend(fontsize=8, loc="lower right")


def _beyond(axes: Axes, of: Mapping[str, Sequence[float]]) -> None:
    """Every recording is a dot, the median a line."""
    for place, (name, values) in enumerate(of.items()):
        if values:
            axes.plot(values, np.full(len(values), place), "o", alpha=0.6, label=name)
            axes.plot([float(np.median(values))] * 2, [place - 0.3, place + 0.3], color="black")
    axes.axvline(0, color="grey", linewidth=0.5)
    axes.set(xlabel="beyond the terminal client's wait for the same recording (ms)")
    axes.set_yticks(range(len(of)), list(of))
    axes.grid(alpha=0.3, axis="x")
