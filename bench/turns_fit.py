"""`python -m bench.turns_fit DATA`: what tells a pause from an end, and how much each of it weighs.

Every gap of every recording is heard with a pause in it, and every recording to its end. What the
models say there is fitted to which of them it was, on one half of the recordings; how well that
sorts the other half is printed. The weights of `services.ai.endpointing` come from here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeAlias

import numpy as np
import numpy.typing as npt
import typer

from bench.report import table
from bench.speech import DEFAULT_FOLDER, read_utterances
from bench.turn_models import load_turn_models
from bench.turns_cases import Case, cases_of_every_gap, is_held_out
from bench.turns_parley import HeardCase, Reader
from parley_models import ModelsError, ModelStore, default_models_dir
from services.ai.audio import ms_of_samples
from services.ai.endpointing import evidence_terms
from services.ai.engine import TurnTakingPreferences
from services.ai.engines.utterance import Utterance
from services.ai.settings import AiSettings
from services.ai.turn_taking import (
    IN_DOUBT,
    Effect,
    Paused,
    Resumed,
    Started,
    TurnTaking,
    VoiceFrame,
)

_SEED = 7
# Longer than the second question takes.
_PAUSE_S = 2.4
# A valley and the pause that the machine sees in it lie this close.
_NEAR_S = 0.3
# Ridge: what a column of unit variance pays for its weight.
_RIDGE = 0.02
_STEPS = 3000
_RATE = 0.5

Rows: TypeAlias = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Moment:
    """A pause or an end, and what is known of it.

    ``terms`` are those of `services.ai.endpointing.evidence_terms`: of the first score alone, and
    of both.
    """

    recording: str
    is_end: bool
    first: tuple[float, float, float]
    terms: tuple[float, float, float]


async def moments_of(heard: HeardCase) -> list[Moment]:
    """Return the end of a recording as it is and its own pauses, or the pause that was cut in."""
    case, found = heard.case, []
    turns = TurnTaking(TurnTakingPreferences(push_to_talk=True, no_hints=True))
    frame = heard.frame_samples
    start, seen = 0, list[tuple[int, int, int]]()
    resumed: dict[int, int] = {}
    for position in range(frame, len(case.audio) - frame, frame):
        effects: list[Effect] = turns.handle(VoiceFrame(heard.voice(position), frame), position)
        for effect in effects:
            match effect:
                case Started(begin):
                    start = max(0, position - Utterance.pre_roll_samples(begin, position))
                case Paused(_, speech_end):
                    seen.append((start, speech_end, position))
                case Resumed():
                    resumed[len(seen) - 1] = position
                case _:
                    pass
    for index, (begin, speech_end, position) in enumerate(seen):
        is_end = index not in resumed
        later = speech_end + (IN_DOUBT // frame) * frame
        if not _counts(case, speech_end, is_end=is_end) or resumed.get(index, later) < later:
            continue
        transcript, _ = await heard.transcript(begin, position)
        if not transcript.clean:
            continue
        scores = [(await heard.score(at))[0] for at in (position, max(position, later))]
        likely, _ = await heard.reader.sentence_end(transcript.clean)
        found.append(
            Moment(
                case.recording,
                is_end,
                evidence_terms(scores[:1], transcript.verbatim, likely),
                evidence_terms(scores, transcript.verbatim, likely),
            )
        )
    return found


def _counts(case: Case, speech_end: int, *, is_end: bool) -> bool:
    """Whether a moment is counted here: others come in several cases of the same recording."""
    if not case.pauses:
        return True
    begin_s, length_s = case.pauses[0]
    at_s = ms_of_samples(speech_end) / 1000
    return not is_end and begin_s - _NEAR_S < at_s < begin_s + length_s


def fit(rows: Rows, is_end: npt.NDArray[np.bool_]) -> tuple[Rows, float]:
    """Return weights, none below 0, and bias of a logistic regression; both kinds count alike."""
    mean, spread = rows.mean(axis=0), rows.std(axis=0) + 1e-9
    scaled = (rows - mean) / spread
    counts = np.where(is_end, (~is_end).sum() / is_end.sum(), 1.0)
    counts /= counts.sum()
    weights, bias = np.zeros(rows.shape[1]), 0.0
    for _ in range(_STEPS):
        error = counts * (1 / (1 + np.exp(-(scaled @ weights + bias))) - is_end)
        weights = np.maximum(weights - _RATE * (scaled.T @ error + _RIDGE * weights), 0.0)
        bias -= _RATE * float(error.sum())
    return weights / spread, bias - float(weights @ (mean / spread))


def separation(values: Rows, is_end: npt.NDArray[np.bool_]) -> float:
    """Return how often an end has a higher value than a pause (the area under the curve)."""
    ends, pauses = values[is_end][:, None], values[~is_end][None]
    return float(np.mean((ends > pauses) + 0.5 * (ends == pauses)))


def report(moments: Sequence[Moment]) -> None:
    """Print what each kind of evidence is worth, and the weights of all."""
    first = np.array([moment.first for moment in moments])
    both = np.array([moment.terms for moment in moments])
    is_end = np.array([moment.is_end for moment in moments])
    unseen = np.array([is_held_out(moment.recording) for moment in moments])
    kinds: Mapping[str, Rows] = {
        "first score": first[:, :1],
        "both scores": both[:, :1],
        "first score, words": first[:, [0, 2]],
        "first score, sentence end": first[:, :2],
        "both scores, words": both[:, [0, 2]],
        "all": both,
    }
    lines = []
    for name, rows in kinds.items():
        weights, bias = fit(rows[~unseen], is_end[~unseen])
        lines.append(
            (
                name,
                f"{separation(rows[~unseen] @ weights, is_end[~unseen]):.3f}",
                f"{separation(rows[unseen] @ weights, is_end[unseen]):.3f}",
                " ".join(f"{weight:.2f}" for weight in weights) + f", bias {bias:.2f}",
            )
        )
    table(
        f"{is_end.sum()} ends and {(~is_end).sum()} pauses, {unseen.sum()} of them held out",
        ("evidence", "fitted half", "held-out half", "weights"),
        lines,
    )


async def hear_all(cases: Sequence[Case], models_dir: Path, preset: str) -> list[Moment]:
    """Hear every case with the models of `preset`. Raises `parley_models.ModelsError`."""
    threads = AiSettings().language_model_threads
    models = load_turn_models(ModelStore(models_dir), preset, language_threads=threads)
    reader = Reader(models)
    return [
        moment for case in cases for moment in await moments_of(HeardCase(models, case, reader))
    ]


def main(
    data: Annotated[Path, typer.Argument(help="Folder with transcripts.tsv.")] = DEFAULT_FOLDER,
    preset: Annotated[str, typer.Option(help="Whose models are asked.")] = "default",
) -> None:
    """Fit the evidence of a finished turn on half of DATA and judge it on the other."""
    models_dir = default_models_dir()
    try:
        detector = load_turn_models(ModelStore(models_dir), preset)
        cases = cases_of_every_gap(read_utterances(data), _PAUSE_S, _SEED, detector.voice_end)
        report(asyncio.run(hear_all(cases, models_dir, preset)))
    except (OSError, ValueError, ModelsError) as error:
        raise SystemExit(f"turns_fit: {error}") from error


if __name__ == "__main__":
    typer.run(main)
