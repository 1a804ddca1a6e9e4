"""`make bench-recognition`: how well learners are understood, in word error rates.

All sides hear the same recordings: Parley's whole path, one conversation a recording, and the same
recognizer on the whole file; the difference is what the way there and endpointing cost. Both hear
each recording a second time where a model for that is installed, as what is stored; then Whisper
alone is a side too.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Annotated, Any

import typer

from bench.live import RATE_HZ, Answer, converse
from bench.recognition_direct import recognize_directly
from bench.recognition_score import ErrorRates, error_rates
from bench.report import table, write
from bench.server import Server, running_server
from bench.speech import DEFAULT_FOLDER, Utterance, read_utterances
from parley_models import ModelsError

# Conversations at once: as many as the local engine takes on a small machine.
_AT_ONCE = 2


def main(
    data: Annotated[Path, typer.Option(help="Folder with transcripts.tsv.")] = DEFAULT_FOLDER,
    preset: Annotated[str, typer.Option(help="Models to measure.")] = os.environ.get(
        "PRESET", "default"
    ),
    server: Annotated[str, typer.Option(help="host:port of a running Parley.")] = os.environ.get(
        "SERVER", ""
    ),
) -> None:
    """Print and write the word error rates on the recordings of DATA."""
    try:
        utterances = read_utterances(data)
        sides = asyncio.run(recognize_directly(preset, utterances))
    except (OSError, ValueError, ModelsError) as error:
        raise SystemExit(f"bench-recognition: {error}") from error
    with running_server(preset, server) as running:
        answers = asyncio.run(recognize_through_parley(running, utterances))
    parley = error_rates(utterances, {name: each.transcript for name, each in answers.items()})
    stored = error_rates(utterances, {name: each.stored for name, each in answers.items()})
    rates = [error_rates(utterances, side.heard) for side in sides]
    direct = rates[0]
    answered = sum(each.reply is not None for each in answers.values())
    cut = sum(each.was_cut for each in answers.values())
    difference = parley.everybody - direct.everybody
    seconds = sum(len(each.samples) for each in utterances) / RATE_HZ
    table(
        f"Word error rate, preset {preset}: {len(utterances)} recordings, {seconds:.0f} s; "
        f"{answered} answered, {cut} cut in two",
        ("", "all", "adults", "children", "processor, of the first"),
        [
            _row("through Parley, answered", parley),
            _row("through Parley, stored", stored),
            *(
                _row(f"alone, whole files: {side.name}", rate, side.cpu_s / sides[0].cpu_s)
                for side, rate in zip(sides, rates, strict=True)
            ),
            ("difference, points", f"{100 * difference:+.1f}", "", "", ""),
        ],
    )
    result: dict[str, Any] = {
        "preset": preset,
        "recordings": len(utterances),
        "answered": answered,
        "cut": cut,
        "parley": parley.fields(),
        "stored": stored.fields(),
        "direct": direct.fields(),
        "sides": {
            side.name: {**rate.fields(), "processor_s": round(side.cpu_s, 2)}
            for side, rate in zip(sides, rates, strict=True)
        },
        "difference": round(difference, 4),
    }
    write("recognition", result)


async def recognize_through_parley(
    server: Server, utterances: list[Utterance]
) -> dict[str, Answer]:
    """Hold one conversation a recording; return what became of each, by its name."""
    answers: dict[str, Answer] = {}
    places = asyncio.Semaphore(_AT_ONCE)

    async def one(utterance: Utterance) -> None:
        async with places:
            _, (answer,) = await converse(client, [utterance.samples])
            answers[utterance.name] = answer

    async with server.client() as client, asyncio.TaskGroup() as group:
        for each in utterances:
            group.create_task(one(each))
    return answers


def _row(side: str, rates: ErrorRates, cost: float | None = None) -> tuple[str, ...]:
    shown = map(_percent, (rates.everybody, rates.adults, rates.children))
    return (side, *shown, "" if cost is None else f"{cost:.2f}")


def _percent(rate: float | None) -> str:
    return "-" if rate is None else f"{100 * rate:.1f} %"


if __name__ == "__main__":
    typer.run(main)
