"""Recordings to measure with: a folder of WAVs and a `transcripts.tsv`."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from bench.live import RATE_HZ
from parley_cli.audio.files import Samples, read_recording

# What a clean clone has; more speech gives a better measure.
DEFAULT_FOLDER = Path(__file__).parent.parent / "tests" / "data" / "speech"


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
