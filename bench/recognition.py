"""`make bench-recognition`: how well learners are understood, in word error rates.

All sides hear the same recordings: Parley's whole path, one conversation a recording, and the same
recognizer on the whole file; the difference is what the way there and endpointing cost. Both hear
each recording a second time where a model for that is installed, as what is stored; then Whisper
alone is a side too. The recognizers also hear every two recordings as one turn, with a pause in it.
At last the first hearing and the one that hears closely hear them as a talk does, sound by sound.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from statistics import fmean, median
from typing import Annotated, Any

import typer

from bench.live import RATE_HZ, Answer, converse
from bench.recognition_direct import in_twos, recognize_directly
from bench.recognition_score import ErrorRates, error_rates
from bench.recognition_talk import Talk, recognize_in_talks
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
        turns = in_twos(utterances) or utterances
        turn_sides = asyncio.run(recognize_directly(preset, turns))
        talks = asyncio.run(recognize_in_talks(preset, utterances))
        turn_talks = asyncio.run(recognize_in_talks(preset, turns))
    except (OSError, ValueError, ModelsError) as error:
        raise SystemExit(f"bench-recognition: {error}") from error
    rates = [error_rates(utterances, side.heard) for side in sides]
    turn_rates = [error_rates(turns, side.heard).everybody for side in turn_sides]
    seconds = sum(len(each.samples) for each in utterances) / RATE_HZ
    table(
        f"Word error rate, preset {preset}: {len(utterances)} recordings, {seconds:.0f} s",
        ("recognizers alone", "all", "adults", "children", "in twos", "processor s a second"),
        [
            (*_row(side.name, rate), _percent(in_two), f"{side.cpu_s / seconds:.3f}")
            for side, rate, in_two in zip(sides, rates, turn_rates, strict=True)
        ],
    )
    fields = {
        side: {**_in_talks(utterances, talks[side]), "in_twos": _in_talks(turns, turn_talks[side])}
        for side in talks
    }
    table(
        "As a talk hears them, at the mean of several beginnings; ms of a thread after the end",
        ("", "all", "after the end", "in twos", "after the end"),
        [(side, *_talk_row(each), *_talk_row(each["in_twos"])) for side, each in fields.items()],
    )
    with running_server(preset, server) as running:
        answers = asyncio.run(recognize_through_parley(running, utterances))
    parley = error_rates(utterances, {name: each.transcript for name, each in answers.items()})
    stored = error_rates(utterances, {name: each.stored for name, each in answers.items()})
    answered = sum(each.reply is not None for each in answers.values())
    cut = sum(each.was_cut for each in answers.values())
    difference = parley.everybody - rates[0].everybody
    table(
        f"Through Parley: {answered} answered, {cut} cut in two",
        ("", "all", "adults", "children"),
        [
            _row("answered", parley),
            _row("stored", stored),
            ("answered, points above the first hearing", f"{100 * difference:+.1f}", "", ""),
        ],
    )
    result: dict[str, Any] = {
        "preset": preset,
        "recordings": len(utterances),
        "answered": answered,
        "cut": cut,
        "parley": parley.fields(),
        "stored": stored.fields(),
        "direct": rates[0].fields(),
        "sides": {
            side.name: {
                **rate.fields(),
                "wer_in_twos": round(in_two, 4),
                "processor_s": round(side.cpu_s, 2),
            }
            for side, rate, in_two in zip(sides, rates, turn_rates, strict=True)
        },
        "talks": fields,
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


def _in_talks(utterances: Sequence[Utterance], talks: Sequence[Talk]) -> dict[str, Any]:
    """Return the JSON fields of one recognizer in talks, each with its own beginning."""
    rates = [error_rates(utterances, talk.heard).everybody for talk in talks]
    after_end = [list(talk.after_end_s.values()) for talk in talks]
    return {
        "wer": round(fmean(rates), 4),
        "wer_by_begin": [round(rate, 4) for rate in rates],
        "after_end_ms": round(1000 * fmean(map(fmean, after_end)), 1),
        "after_end_median_ms": round(1000 * median(chain(*after_end)), 1),
    }


def _talk_row(fields: dict[str, Any]) -> tuple[str, str]:
    return _percent(fields["wer"]), f"{fields['after_end_ms']:.0f}"


def _row(side: str, rates: ErrorRates) -> tuple[str, ...]:
    return (side, *map(_percent, (rates.everybody, rates.adults, rates.children)))


def _percent(rate: float | None) -> str:
    return "-" if rate is None else f"{100 * rate:.1f} %"


if __name__ == "__main__":
    typer.run(main)
