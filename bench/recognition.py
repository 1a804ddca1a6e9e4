"""`python -m bench.recognition`: how well learners are understood, in word error rates."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Annotated, Any

import typer

from bench.recognition_direct import recognize_directly
from bench.recognition_score import ErrorRates, error_rates
from bench.report import table, write
from bench.speech import DEFAULT_FOLDER, read_utterances
from parley_models import ModelsError


def main(
    data: Annotated[Path, typer.Option(help="Folder with transcripts.tsv.")] = DEFAULT_FOLDER,
    preset: Annotated[str, typer.Option(help="Models to measure.")] = os.environ.get(
        "PRESET", "default"
    ),
) -> None:
    """Print and write the word error rate on the recordings of DATA."""
    try:
        utterances = read_utterances(data)
        direct = error_rates(utterances, asyncio.run(recognize_directly(preset, utterances)))
    except (OSError, ValueError, ModelsError) as error:
        raise SystemExit(f"bench-recognition: {error}") from error
    seconds = sum(len(each.samples) for each in utterances) / 16_000
    table(
        f"Word error rate, preset {preset}: {len(utterances)} recordings, {seconds:.0f} s",
        ("", "all", "adults", "children"),
        [_row("recognizer alone, whole files", direct)],
    )
    result: dict[str, Any] = {
        "preset": preset,
        "recordings": len(utterances),
        "direct": direct.fields(),
    }
    write("recognition", result)


def _row(side: str, rates: ErrorRates) -> tuple[str, ...]:
    return (side, *map(_percent, (rates.everybody, rates.adults, rates.children)))


def _percent(rate: float | None) -> str:
    return "-" if rate is None else f"{100 * rate:.1f} %"


if __name__ == "__main__":
    typer.run(main)
