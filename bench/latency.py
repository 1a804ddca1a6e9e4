"""`make bench-latency`: how long a learner waits for the answer, stage by stage."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from bench.live import Answer, converse
from bench.report import Spread, table, write
from bench.server import Server, running_server
from bench.speech import DEFAULT_FOLDER, Utterance, read_utterances
from parley.types.v1 import turn_pb2

# Recordings said in one conversation: enough for the prompt to grow as it does in a real talk.
_PER_CONVERSATION = 5

_END_DETECTED = "end_detected"
_RECEIVED = "received"
_UNACCOUNTED = "unaccounted"


@dataclass(frozen=True, slots=True)
class MeasuredTurn:
    """One answered recording: the wait and its parts, which add up to it, in milliseconds."""

    recording: str
    voice_to_voice_ms: float
    stages: dict[str, float]


def stages_of(answer: Answer) -> dict[str, float]:
    """Split the wait into its parts.

    Raises:
        ValueError: the recording was not answered.
    """
    reply, silence_ms = answer.reply, answer.silence_ms
    if reply is None or silence_ms is None or reply.first_audio_at is None:
        raise ValueError("not answered")
    turn = next(each for each in answer.turns if each.number == reply.turn)
    parts = {_END_DETECTED: turn.end_ms - answer.speech_end_ms}
    for stage in reply.stages:
        if stage.kind in _SERVER_STAGES:
            name = _SERVER_STAGES[stage.kind]
            parts[name] = parts.get(name, 0.0) + stage.duration_ms
    assert reply.sounding_at is not None
    # What the client alone sees: the reply's own lead-in before its first audible sample.
    parts[_RECEIVED] = (reply.sounding_at - reply.first_audio_at) * 1000
    parts[_UNACCOUNTED] = silence_ms - sum(parts.values())
    return parts


_SERVER_STAGES = {
    turn_pb2.STAGE_KIND_ENDPOINT: "endpoint",
    turn_pb2.STAGE_KIND_TRANSCRIPT: "transcript",
    turn_pb2.STAGE_KIND_FIRST_TOKEN: "first_token",
    turn_pb2.STAGE_KIND_FIRST_CLAUSE: "first_clause",
    turn_pb2.STAGE_KIND_FIRST_AUDIO: "first_audio",
    turn_pb2.STAGE_KIND_SENT: "sent",
}
_ORDER = (_END_DETECTED, *_SERVER_STAGES.values(), _RECEIVED, _UNACCOUNTED)


async def measure(server: Server, utterances: list[Utterance]) -> list[tuple[str, Answer]]:
    """Say every recording, a few a conversation, one conversation at a time."""
    answers: list[tuple[str, Answer]] = []
    async with server.client() as client:
        for first in range(0, len(utterances), _PER_CONVERSATION):
            group = utterances[first : first + _PER_CONVERSATION]
            _, said = await converse(client, [each.samples for each in group])
            answers += [(each.name, answer) for each, answer in zip(group, said, strict=True)]
    return answers


def report(preset: str, answers: list[tuple[str, Answer]]) -> None:
    """Print the table and write the result."""
    turns = [
        MeasuredTurn(name, answer.silence_ms, stages_of(answer))
        for name, answer in answers
        if answer.silence_ms is not None
    ]
    waits = Spread.of([turn.voice_to_voice_ms for turn in turns])
    spreads = {name: Spread.of([turn.stages.get(name, 0.0) for turn in turns]) for name in _ORDER}
    cut = sum(answer.was_cut for _, answer in answers)
    table(
        f"Voice to voice, preset {preset}: {len(turns)} of {len(answers)} recordings answered, "
        f"{cut} cut in two",
        ("milliseconds", "p50", "p90", "p95", "min", "max"),
        [
            (
                label,
                *(
                    f"{value:.0f}"
                    for value in (
                        spread.p50,
                        spread.p90,
                        spread.p95,
                        spread.smallest,
                        spread.largest,
                    )
                ),
            )
            for label, spread in (("voice to voice", waits), *spreads.items())
        ],
    )
    write(
        "latency",
        {
            "preset": preset,
            "recordings": len(answers),
            "answered": len(turns),
            "cut": cut,
            "voice_to_voice": waits.fields(),
            "stages": {name: spread.fields() for name, spread in spreads.items()},
            "turns": [
                {
                    "recording": turn.recording,
                    "voice_to_voice_ms": round(turn.voice_to_voice_ms, 1),
                    "stages": {name: round(value, 1) for name, value in turn.stages.items()},
                }
                for turn in turns
            ],
        },
    )


def main(
    data: Annotated[Path, typer.Option(help="Folder with transcripts.tsv.")] = DEFAULT_FOLDER,
    preset: Annotated[str, typer.Option(help="Models to start with.")] = os.environ.get(
        "PRESET", "default"
    ),
    server: Annotated[str, typer.Option(help="host:port of a running Parley.")] = os.environ.get(
        "SERVER", ""
    ),
) -> None:
    """Print and write how long the answers to the recordings of DATA take."""
    try:
        utterances = read_utterances(data)
    except (OSError, ValueError) as error:
        raise SystemExit(f"bench-latency: {error}") from error
    with running_server(preset, server) as running:
        answers = asyncio.run(measure(running, utterances))
    report(running.preset, answers)


if __name__ == "__main__":
    typer.run(main)
