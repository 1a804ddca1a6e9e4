"""The recordings of a folder, and what is said in them where that is known."""

from __future__ import annotations

import csv
from pathlib import Path

from parley_cli.audio.files import Recording, read_recording
from parley_cli.compare.results import Sample
from parley_cli.failures import CliFailure, ExitCode
from parley_cli.talk.options import CAPTURE_RATE_HZ

_SOUNDS = frozenset({".wav", ".flac", ".mp3", ".ogg"})
_TABLE = "transcripts.tsv"


def read_samples(folder: Path) -> list[tuple[Sample, Recording]]:
    """Read every recording of ``folder``, by name.

    What is said stands in NAME.txt beside NAME.wav, or in transcripts.tsv (tab-separated, with the
    columns `file` and `transcript`).

    Raises:
        CliFailure: there is no such folder, nothing in it, or a file that cannot be read.
    """
    if not folder.is_dir():
        raise CliFailure(
            f"{folder} is no folder.",
            advice="Name a folder with recordings (WAV, FLAC, MP3 or Ogg Vorbis).",
            exit_code=ExitCode.USAGE,
        )
    listed = _listed(folder / _TABLE)
    found: list[tuple[Sample, Recording]] = []
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in _SOUNDS:
            continue
        recording = read_recording(path, CAPTURE_RATE_HZ)
        words = path.with_suffix(".txt")
        said = _text(words).strip() if words.is_file() else listed.get(path.name, "")
        found.append((Sample(path.stem, path, recording.duration_ms, said), recording))
    if not found:
        raise CliFailure(
            f"{folder} holds no recordings.",
            advice="WAV, FLAC, MP3 and Ogg Vorbis are read.",
            exit_code=ExitCode.USAGE,
        )
    return found


def _listed(table: Path) -> dict[str, str]:
    """Return what is said by the names of the files; empty where there is no table."""
    if not table.is_file():
        return {}
    rows = csv.DictReader(_text(table).splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE)
    if not {"file", "transcript"} <= set(rows.fieldnames or ()):
        raise CliFailure(
            f"{table} has no columns named file and transcript.",
            advice="Its first line names them, and tabs are between them.",
            exit_code=ExitCode.USAGE,
        )
    return {row["file"]: (row["transcript"] or "").strip() for row in rows}


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CliFailure(
            f"{path} cannot be read.",
            advice="It has to be text in UTF-8.",
            exit_code=ExitCode.USAGE,
            details=str(error),
        ) from error
