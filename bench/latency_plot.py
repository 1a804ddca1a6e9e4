"""The picture of `bench-latency`: both distributions, and where Parley's wait goes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np

from bench.latency_stages import STAGES, MeasuredTurn

mpl.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.axes import Axes


def plot(turns: Sequence[MeasuredTurn], pipecat_ms: Sequence[float], path: Path) -> None:
    """Draw the distributions of the waits and, turn by turn, Parley's stages; write a PNG."""
    figure, (above, below) = plt.subplots(2, 1, figsize=(8, 8), layout="constrained")
    _distributions(above, [turn.voice_to_voice_ms for turn in turns], pipecat_ms)
    _stages(below, turns)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def _distributions(axes: Axes, parley_ms: Sequence[float], pipecat_ms: Sequence[float]) -> None:
    for name, waits in (("parley", parley_ms), ("pipecat", pipecat_ms)):
        if waits:
            shares = np.arange(1, len(waits) + 1) / len(waits)
            axes.step(sorted(waits), shares, where="post", label=name)
    axes.axhline(0.5, color="grey", linewidth=0.5)
    axes.set(
        xlabel="end of speech to first sound of the answer (ms)",
        ylabel="share of turns",
        xlim=(0, None),
        ylim=(0, 1),
    )
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")


def _stages(axes: Axes, turns: Sequence[MeasuredTurn]) -> None:
    ordered = sorted(turns, key=lambda turn: turn.voice_to_voice_ms)
    places = np.arange(len(ordered))
    above = np.zeros(len(ordered))
    below = np.zeros(len(ordered))
    for name in STAGES:
        heights = np.array([turn.stages.get(name, 0.0) for turn in ordered])
        # A part may be negative: the server may hear the end of speech before it was.
        bottom = np.where(heights >= 0, above, below)
        axes.bar(places, heights, bottom=bottom, width=1.0, label=name)
        above += np.maximum(heights, 0)
        below += np.minimum(heights, 0)
    axes.set(xlabel="Parley's turns, by their wait", ylabel="milliseconds", xticks=[])
    axes.legend(fontsize=8, loc="upper left")
