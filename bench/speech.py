"""Recordings to measure with: a folder of WAVs and a `transcripts.tsv`."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.live import RATE_HZ
from parley_cli.audio.files import Samples, read_recording
from parley_cli.audio.speech_end import speech_end_sample

# What a clean clone has; more speech gives a better measure.
DEFAULT_FOLDER = Path(__file__).parent.parent / "tests" / "data" / "speech"

# A recording's end is certain where energy and a voice detector agree on it this closely: a breath
# or a knock after the words would else pass for speech, and waiting for it for patience.
_AGREEMENT = RATE_HZ // 4

VoiceEnd = Callable[[Samples], int | None]
"""Where a voice detector hears the last voice of a recording, in samples; None: nowhere."""


@dataclass(frozen=True, slots=True)
class Utterance:
    """One recording: int16 mono at `RATE_HZ`, and what was said in it."""

    name: str
    samples: Samples
    text: str
    age: int | None
    """The speaker's age in years, where it is known."""


def read_utterances(folder: Path) -> list[Utterance]:
    """Read the recordings that `transcripts.tsv` lists: columns `file`, `transcript`, maybe `age`.

    Raises:
        FileNotFoundError: there is no such folder, table or recording.
        ValueError: the table lacks a column or lists nothing.
    """
    table = folder / "transcripts.tsv"
    with table.open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))
    if not rows or not {"file", "transcript"} <= rows[0].keys():
        raise ValueError(f"{table}: needs the columns `file` and `transcript`, and rows")
    return [
        Utterance(
            name=row["file"],
            samples=read_recording(folder / row["file"], RATE_HZ).samples,
            text=row["transcript"],
            age=int(row["age"]) if row.get("age", "").isdigit() else None,
        )
        for row in rows
    ]


def with_certain_end(
    utterances: Sequence[Utterance], voice_end: VoiceEnd
) -> Iterator[tuple[int, Utterance, int]]:
    """Yield the recordings whose end is certain, each with its number and that end in samples.

    Of the others nobody can say how long an answer took: the two ends that might be meant lie
    further apart than many an answer takes.
    """
    for index, utterance in enumerate(utterances):
        end = speech_end_sample(utterance.samples, RATE_HZ)
        voice = voice_end(utterance.samples)
        if end is not None and voice is not None and abs(end - voice) <= _AGREEMENT:
            yield index, utterance, end
