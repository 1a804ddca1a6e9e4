"""`make bench-turns`: who is cut off, and who waits how long, beside Pipecat on the same speech.

A system that waits long cuts nobody off, so neither number means anything alone: they are shown
as points of a plane, one a setting of patience. `bench.turns_cases` says what is heard,
`bench.turns_parley` and `bench.peers.pipecat_turns` how it is heard.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from bench.peers.environment import ROOT, PeersUnavailableError, peers_python
from bench.peers.running import peers_environment
from bench.report import RESULTS, Spread, table, write
from bench.speech import DEFAULT_FOLDER, read_utterances
from bench.turn_models import TurnModels, load_turn_models
from bench.turns_cases import LONGEST_PAUSE_S, Case, build_cases, is_held_out
from bench.turns_parley import HeardCase, Reader, hear
from parley_models import ModelsError, ModelStore, default_models_dir
from services.ai.settings import AiSettings

PATIENCE = (0.0, 0.125, 0.25, 0.375, 0.4375, 0.46875, 0.5, 0.625, 0.75, 1.0)
_SEED = 20_260_101
# With the recording as it is, four cases of each: most turns of a talk hold a pause.
_PAUSED = 3
_PARLEY, _PIPECAT = "parley", "pipecat"


@dataclass(frozen=True, slots=True)
class Point:
    """How one system did with one setting."""

    system: str
    setting: str
    cutoff_rate: float
    """The share of all cases in which a turn was ended before the speech had."""
    cutoff_rate_paused: float
    """The same among the cases with pauses cut in."""
    delays: Spread
    """From the true end of speech until the turn had ended and its words were known."""
    missed: int
    """Cases whose end was not seen before the audio ended; they count as the longest wait."""

    def fields(self) -> dict[str, object]:
        """Return the point as JSON fields."""
        return {
            "system": self.system,
            "setting": self.setting,
            "cutoff_rate": round(self.cutoff_rate, 4),
            "cutoff_rate_paused": round(self.cutoff_rate_paused, 4),
            "median_delay_ms": round(self.delays.p50, 1),
            "p90_delay_ms": round(self.delays.p90, 1),
            "missed": self.missed,
        }


def judge(
    system: str, setting: str, cases: Sequence[Case], ended: Mapping[str, Sequence[float]]
) -> Point:
    """Compare when turns ended with the truth.

    A turn that ends before the speech does is a cut-off; the wait is always that of the turn that
    ends the speech, whatever was cut off before it.
    """
    delays, cut, missed = [], [], 0
    for case in cases:
        ends = ended[case.name]
        cut.append(any(end < case.speech_end_s for end in ends))
        after = [end for end in ends if end >= case.speech_end_s]
        missed += not after
        last = min(after, default=case.duration_s)
        delays.append(1000 * (last - case.speech_end_s))
    paused = [was_cut for was_cut, case in zip(cut, cases, strict=True) if case.pauses]
    return Point(
        system=system,
        setting=setting,
        cutoff_rate=statistics.mean(cut),
        cutoff_rate_paused=statistics.mean(paused) if paused else 0.0,
        delays=Spread.of(delays),
        missed=missed,
    )


Endings = Mapping[str, Mapping[str, Sequence[float]]]
"""When the turns of each case ended, in seconds, for each setting of one system."""


def parley_endings(models: TurnModels, cases: Sequence[Case]) -> Endings:
    """Hear every case with every setting of patience."""
    ended: dict[float, dict[str, list[float]]] = {patience: {} for patience in PATIENCE}
    reader = Reader(models)
    for case in cases:
        heard = HeardCase(models, case, reader)
        for patience in PATIENCE:
            ended[patience][case.name] = hear(heard, patience)
    return {f"patience {patience:g}": ended[patience] for patience in PATIENCE}


def pipecat_endings(cases: Sequence[Case], models_dir: Path, preset: str) -> Endings:
    """Hear every case with Pipecat's defaults.

    Raises `PeersUnavailableError`, or `CalledProcessError` when it failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "cases.npz"
        np.savez(file, allow_pickle=False, **{case.name: case.audio for case in cases})
        command = [str(peers_python()), "-m", "bench.peers.pipecat_turns", str(file)]
        command += [f"--models-dir={models_dir}", f"--preset={preset}"]
        result = subprocess.run(
            command, cwd=ROOT, env=peers_environment(), stdout=subprocess.PIPE, check=True
        )
    return {"its defaults": json.loads(result.stdout)}


def points_of(cases: Sequence[Case], systems: Mapping[str, Endings]) -> list[Point]:
    """Judge every system and setting on some of the cases that were heard."""
    return [
        judge(system, setting, cases, ended)
        for system, endings in systems.items()
        for setting, ended in endings.items()
    ]


def beaten(points: Sequence[Point]) -> bool:
    """Whether a point of Parley's is better than Pipecat's in both numbers."""
    peers = [point for point in points if point.system == _PIPECAT]
    return all(
        any(
            own.system == _PARLEY
            and own.cutoff_rate < peer.cutoff_rate
            and own.delays.p50 < peer.delays.p50
            for own in points
        )
        for peer in peers
    )


def lost_on(points: Sequence[Point], unseen: Sequence[Point]) -> list[str]:
    """Say on which speech no setting beats Pipecat: all of it, and what no weight was fitted on."""
    judged = {"all speech": points, "the recordings that no weight was fitted on": unseen}
    return [speech for speech, judged_points in judged.items() if not beaten(judged_points)]


def report(
    cases: Sequence[Case], systems: Mapping[str, Endings], longest_pause_s: float
) -> list[str]:
    """Print the tables, write the result, draw the plot; return on which speech Pipecat wins."""
    held_out = [case for case in cases if is_held_out(case.recording)]
    points = points_of(cases, systems)
    show(f"Turn-taking on {len(cases)} cases, {_paused(cases)} of them with pauses cut in", points)
    unseen = points_of(held_out, systems) if held_out else []
    if unseen:
        show(f"On the {len(held_out)} of recordings that no weight was fitted on", unseen)
    write(
        "turns",
        {
            "cases": len(cases),
            "paused": _paused(cases),
            "longest_pause_s": longest_pause_s,
            "points": [point.fields() for point in points],
            "better_in_both": beaten(points),
            "held_out": {
                "cases": len(held_out),
                "paused": _paused(held_out),
                "points": [point.fields() for point in unseen],
                "better_in_both": beaten(unseen),
            },
        },
    )
    plot(points, RESULTS / "turns.png")
    return lost_on(points, unseen)


def _paused(cases: Sequence[Case]) -> int:
    return sum(bool(case.pauses) for case in cases)


def show(title: str, points: Sequence[Point]) -> None:
    """Print points as a table."""
    table(
        title,
        ("system", "cut off", "with pauses", "median wait", "p90 wait", "missed"),
        [
            (
                f"{point.system}, {point.setting}",
                f"{point.cutoff_rate:.1%}",
                f"{point.cutoff_rate_paused:.1%}",
                f"{point.delays.p50:.0f} ms",
                f"{point.delays.p90:.0f} ms",
                str(point.missed),
            )
            for point in points
        ],
    )


def plot(points: Sequence[Point], path: Path) -> None:
    """Draw the points: further to the lower left is better."""
    import matplotlib as mpl  # noqa: PLC0415 - slow to import, and only needed here

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    figure, axes = plt.subplots(figsize=(7, 5), layout="constrained")
    for system, style in ((_PARLEY, "o-"), (_PIPECAT, "X")):
        own = [point for point in points if point.system == system]
        waits = [point.delays.p50 for point in own]
        cuts = [100 * point.cutoff_rate for point in own]
        axes.plot(waits, cuts, style, label=system)
        for point, wait, cut in zip(own, waits, cuts, strict=True):
            axes.annotate(point.setting, (wait, cut), (5, 5), textcoords="offset points", size=8)
    axes.set(xlabel="median wait after the end of speech (ms)", ylabel="cut off (% of cases)")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=150)
    plt.close(figure)


def main(
    data: Annotated[Path, typer.Option(help="Folder with transcripts.tsv.")] = DEFAULT_FOLDER,
    preset: Annotated[str, typer.Option(help="Whose models take turns.")] = os.environ.get(
        "PRESET", "default"
    ),
    paused: Annotated[int, typer.Option(help="Cases with pauses from each recording.")] = _PAUSED,
    longest_pause: Annotated[float, typer.Option(help="Seconds; the shortest is 0.3.")] = (
        LONGEST_PAUSE_S
    ),
    peer: Annotated[bool, typer.Option(help="Judge Pipecat as well.")] = True,
) -> None:
    """Print and write who cuts off and who waits, on the recordings of DATA."""
    models_dir = default_models_dir()
    try:
        threads = AiSettings().language_model_threads
        models = load_turn_models(ModelStore(models_dir), preset, language_threads=threads)
        utterances = read_utterances(data)
        cases = build_cases(utterances, paused, _SEED, models.voice_end, longest_pause)
        systems = {_PIPECAT: pipecat_endings(cases, models_dir, preset)} if peer else {}
    except (OSError, ValueError, ModelsError, PeersUnavailableError) as error:
        raise SystemExit(f"bench-turns: {error}") from error
    lost = report(cases, {**systems, _PARLEY: parley_endings(models, cases)}, longest_pause)
    if lost:
        raise SystemExit(
            "bench-turns: no setting of Parley's has both numbers below Pipecat's on "
            + " nor on ".join(lost)
        )


if __name__ == "__main__":
    typer.run(main)
