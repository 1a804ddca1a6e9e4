"""`make bench-latency`: how long a learner waits for the answer, stage by stage, and with Pipecat.

Parley and Pipecat run side by side on the same models, with the same threads; a group of
recordings is said to the one, then to the other, and so on, so that whatever else the machine does
meets both. Never do two conversations run at once. Only recordings are said on whose end energy and
a voice detector agree: of the others nobody can say how long an answer took.
"""

from __future__ import annotations

import asyncio
import math
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import cycle, islice
from pathlib import Path
from typing import Annotated, Any

import typer

from bench.latency_plot import plot
from bench.latency_stages import RECONCILED_MS, STAGES, MeasuredTurn, stages_of
from bench.live import Answer, converse
from bench.peers import pipecat_client
from bench.peers.environment import PeersUnavailableError
from bench.peers.running import PipecatOptions, running_pipecat
from bench.report import RESULTS, Spread, table, write
from bench.server import Server, running_server
from bench.speech import DEFAULT_FOLDER, Utterance, VoiceEnd, read_utterances, with_certain_end
from bench.turn_models import load_voice_end
from parley_models import ModelsError, ModelStore, default_models_dir
from services.ai.settings import AiSettings

# Recordings said in one conversation: enough for the prompt to grow as it does in a real talk.
_PER_CONVERSATION = 5
# Fewer say nothing about the 95th percentile.
_LEAST_TURNS = 40
# A wait is only that of the answered: a system that leaves out more than this is not quick.
_MOST_UNANSWERED = 0.05
# A single late read on a busy machine is no fault; more turns than these that do not add up are.
_MOST_UNRECONCILED = 0.1

# On two cores: the median wait for each preset that has a budget, and its share of Pipecat's.
BUDGETS_MS = {"default": 900.0, "light": 600.0}
RATIO_BUDGET = 0.6

Said = list[tuple[str, Answer]]
"""Recordings by name, and what became of each."""


@dataclass(slots=True)
class Measured:
    """What one run measured."""

    parley: Said = field(default_factory=list)
    pipecat: Said = field(default_factory=list)


async def measure(server: Server, pipecat_url: str, utterances: Sequence[Utterance]) -> Measured:
    """Say every recording to both, a few a conversation, one conversation at a time.

    An empty `pipecat_url` leaves Pipecat out.
    """
    measured = Measured()
    async with server.client() as client:
        for first in range(0, len(utterances), _PER_CONVERSATION):
            group = utterances[first : first + _PER_CONVERSATION]
            names, recordings = [u.name for u in group], [u.samples for u in group]
            _, said = await converse(client, recordings)
            measured.parley += zip(names, said, strict=True)
            if pipecat_url:
                said = await pipecat_client.converse(pipecat_url, recordings)
                measured.pipecat += zip(names, said, strict=True)
    return measured


def chosen(utterances: Sequence[Utterance], voice_end: VoiceEnd, turns: int) -> list[Utterance]:
    """Return what is said: recordings of a certain end, in their order, again as needed.

    `turns` of them; 0: each of them, and as many as a 95th percentile needs.

    Raises:
        ValueError: the end of none is certain.
    """
    certain = [utterance for _, utterance, _ in with_certain_end(utterances, voice_end)]
    if not certain:
        raise ValueError("there is no recording whose end is certain")
    return list(islice(cycle(certain), turns or max(_LEAST_TURNS, len(certain))))


def waits_of(said: Said) -> list[float]:
    """Return the waits of the recordings that were answered, in milliseconds."""
    return [answer.silence_ms for _, answer in said if answer.silence_ms is not None]


def ratio_p50(measured: Measured) -> float:
    """Return Parley's median wait over Pipecat's, of the recordings that both answered.

    Raises:
        ValueError: there is none.
    """
    pairs = [
        (mine.silence_ms, theirs.silence_ms)
        for (_, mine), (_, theirs) in zip(measured.parley, measured.pipecat, strict=True)
        if mine.silence_ms is not None and theirs.silence_ms is not None
    ]
    parley, pipecat = (Spread.of([pair[side] for pair in pairs]) for side in (0, 1))
    return parley.p50 / pipecat.p50


def summary(said: Said) -> dict[str, Any]:
    """Return one system's numbers as JSON fields."""
    waits = waits_of(said)
    return {
        **Spread.of(waits).fields(),
        "turns": len(waits),
        "said": len(said),
        "unanswered": len(said) - len(waits),
        "cut": sum(answer.was_cut for _, answer in said),
    }


def turn_fields(name: str, answer: Answer) -> dict[str, Any]:
    """Return what became of one recording as JSON fields, whether it was answered or not."""
    wait = answer.silence_ms
    return {
        "recording": name,
        "voice_to_voice_ms": None if wait is None else round(wait, 1),
        "cut": answer.was_cut,
        "unanswered": answer.unanswered,
    }


def reconciliation(turns: Sequence[MeasuredTurn]) -> tuple[bool, list[str]]:
    """Return whether the stages explain the waits, and the recordings where they do not.

    One turn in ten may stand out.
    """
    strays = [turn.recording for turn in turns if not turn.is_reconciled]
    return len(strays) <= _MOST_UNRECONCILED * len(turns), strays


def missed_budgets(result: Mapping[str, Any]) -> list[str]:
    """Return what of the budgets was missed, in words."""
    missed = []
    parley, pipecat = result["parley"], result.get("pipecat")
    budget_ms = BUDGETS_MS.get(result["preset"], math.inf)
    if parley["turns"] < _LEAST_TURNS <= parley["said"]:
        missed.append(f"fewer than {_LEAST_TURNS} turns were answered")
    if parley["unanswered"] > _MOST_UNANSWERED * parley["said"]:
        missed.append(f"more than {_MOST_UNANSWERED:.0%} of what was said went unanswered")
    if pipecat is not None and parley["cut"] > pipecat["cut"]:
        missed.append("more turns were cut in two than Pipecat's")
    if parley["p50_ms"] > budget_ms:
        missed.append(f"the median wait is over {budget_ms:.0f} ms")
    if result.get("ratio_p50", 0.0) > RATIO_BUDGET:
        missed.append(f"the median wait is over {RATIO_BUDGET:g} of Pipecat's")
    if not result["reconciled"]:
        missed.append("the stages do not add up")
    return missed


def report(preset: str, measured: Measured) -> list[str]:
    """Print the tables, write the result and draw the plot; return what of it must not be so."""
    turns = [
        MeasuredTurn(name, answer.silence_ms, stages_of(answer))
        for name, answer in measured.parley
        if answer.silence_ms is not None
    ]
    stages = {name: Spread.of([turn.stages.get(name, 0.0) for turn in turns]) for name in STAGES}
    result: dict[str, Any] = {"preset": preset, "parley": summary(measured.parley)}
    spreads = {"parley": Spread.of(waits_of(measured.parley))}
    if measured.pipecat:
        result["pipecat"] = summary(measured.pipecat)
        spreads["pipecat"] = Spread.of(waits_of(measured.pipecat))
        result["ratio_p50"] = round(ratio_p50(measured), 3)
    _show(f"Voice to voice, preset {preset}", spreads)
    for system in spreads:
        numbers = result[system]
        print(
            f"{system}: {numbers['said']} said, {numbers['turns']} answered, "
            f"{numbers['unanswered']} not, {numbers['cut']} cut in two"
        )
    if "ratio_p50" in result:
        print(f"p50 of parley is {result['ratio_p50']:.2f} of pipecat's, where both answered")
    _show("Where Parley's wait goes", stages)
    reconciled, strays = reconciliation(turns)
    if strays:
        print(
            f"bench-latency: {len(strays)} of {len(turns)} turns have stages that miss the wait by "
            f"more than {RECONCILED_MS:.0f} ms: {', '.join(strays)}",
            file=sys.stderr,
        )
    result["reconciled"] = reconciled
    missed = missed_budgets(result)
    write(
        "latency",
        {
            **result,
            "missed": missed,
            "unreconciled": strays,
            "stages": {name: spread.fields() for name, spread in stages.items()},
            "turns": [
                {**turn_fields(name, answer), "stages": _rounded_stages(answer)}
                for name, answer in measured.parley
            ],
            "pipecat_turns": [turn_fields(name, answer) for name, answer in measured.pipecat],
        },
    )
    plot(turns, waits_of(measured.pipecat), RESULTS / "latency.png")
    return missed


def _rounded_stages(answer: Answer) -> dict[str, float]:
    if answer.silence_ms is None:
        return {}
    return {name: round(value, 1) for name, value in stages_of(answer).items()}


def _show(title: str, spreads: dict[str, Spread]) -> None:
    table(
        title,
        ("milliseconds", "p50", "p90", "p95", "min", "max"),
        [
            (
                name,
                *(
                    f"{value:.0f}"
                    for value in (each.p50, each.p90, each.p95, each.smallest, each.largest)
                ),
            )
            for name, each in spreads.items()
        ],
    )


def pipecat_options(preset: str) -> PipecatOptions:
    """Return Pipecat's share of the machine: just that of Parley's ai service."""
    settings = AiSettings()
    return PipecatOptions(
        models_dir=default_models_dir(),
        preset=preset,
        speech_threads=settings.speech_threads,
        language_model_threads=settings.language_model_threads,
        context_tokens=settings.context_tokens,
    )


def main(
    data: Annotated[Path, typer.Option(help="Folder with transcripts.tsv.")] = DEFAULT_FOLDER,
    preset: Annotated[str, typer.Option(help="Models to start with.")] = os.environ.get(
        "PRESET", "default"
    ),
    server: Annotated[str, typer.Option(help="host:port of a running Parley.")] = os.environ.get(
        "SERVER", ""
    ),
    turns: Annotated[
        int,
        typer.Option(min=0, help="Recordings said; 0: all whose end is certain, at least 40."),
    ] = 0,
    peer: Annotated[bool, typer.Option(help="Measure Pipecat as well.")] = True,
) -> None:
    """Print and write how long the answers to the recordings of DATA take."""
    try:
        voice_end = load_voice_end(ModelStore(default_models_dir()), preset)
        utterances = chosen(read_utterances(data), voice_end, turns)
        with ExitStack() as running:
            parley = running.enter_context(running_server(preset, server))
            url = ""
            if peer:
                url = running.enter_context(running_pipecat(pipecat_options(preset))).url
            measured = asyncio.run(measure(parley, url, utterances))
    except (OSError, ValueError, ModelsError, PeersUnavailableError) as error:
        raise SystemExit(f"bench-latency: {error}") from error
    if missed := report(parley.preset, measured):
        raise SystemExit(f"bench-latency: {'; '.join(missed)}")


if __name__ == "__main__":
    typer.run(main)
