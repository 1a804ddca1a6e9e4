"""The second hearing on real speech, where its models are installed."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import jiwer
import numpy as np
import pytest

from bench.recognition_direct import CAREFUL
from bench.recognition_normal_form import normal_form
from parley_cli.audio.files import read_recording
from parley_models import ModelStore, default_models_dir
from services.ai.adapters.registry import RECOGNIZERS, LocalRuntime
from services.ai.capabilities import HearsAgain, Recognizer
from services.ai.compute import ComputePool
from services.ai.spare_time import SpareTime

pytestmark = [
    pytest.mark.models,
    pytest.mark.leaves_behind("the models of the module keep their threads until its end"),
]

SPEECH = Path(__file__).parents[2] / "data" / "speech"
BASE = "moonshine-base-en-int8"


@pytest.fixture(scope="module")
def recognizer() -> Iterator[Recognizer]:
    store = ModelStore(default_models_dir())
    if store.missing([CAREFUL, BASE]):
        pytest.skip(f"parley models fetch {CAREFUL} {BASE}")
    pool, spare = ComputePool(1, 4), SpareTime()
    runtime = LocalRuntime(pool, 1, 1024, 1, careful=store.path(CAREFUL), spare=spare)
    yield RECOGNIZERS[BASE](store.path(BASE), runtime)
    pool.close()
    spare.close()


async def hear(recognizer: Recognizer, samples: np.ndarray) -> str:
    session = recognizer.open()
    assert isinstance(session, HearsAgain)
    session.feed(samples)
    transcript = await session.again(())
    session.close()
    assert transcript is not None
    assert all(0.0 < word.confidence <= 1.0 for word in transcript.words)
    assert transcript.verbatim.split() == [word.text for word in transcript.words]
    return transcript.verbatim


async def test_learners_are_understood_better_the_second_time(recognizer: Recognizer):
    with (SPEECH / "transcripts.tsv").open(encoding="utf-8") as table:
        rows = list(csv.DictReader(table, delimiter="\t"))
    said, first, second = [], [], []
    for row in rows:
        samples = read_recording(SPEECH / row["file"], 16_000).samples
        session = recognizer.open()
        session.feed(samples)
        first.append(normal_form((await session.final()).verbatim))
        session.close()
        second.append(normal_form(await hear(recognizer, samples)))
        said.append(normal_form(row["transcript"]))
    assert jiwer.wer(said, second) <= jiwer.wer(said, first)


async def test_silence_says_nothing(recognizer: Recognizer):
    assert await hear(recognizer, np.zeros(32_000, np.int16)) == ""
