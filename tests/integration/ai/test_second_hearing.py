"""The second hearing on real speech, where its models are installed."""

from __future__ import annotations

import csv
from pathlib import Path

import jiwer
import numpy as np
import pytest

from bench.recognition_direct import CAREFUL
from bench.recognition_normal_form import normal_form
from parley_cli.audio.files import read_recording
from parley_models import ModelStore, default_models_dir
from services.ai.adapters.moonshine_model import FoldedMoonshine, text_of
from services.ai.adapters.registry import second_hearing
from services.ai.adapters.second_hearing import SecondHearing
from services.ai.adapters.whisper_model import WhisperModel
from services.ai.audio import to_float

pytestmark = pytest.mark.models

SPEECH = Path(__file__).parents[2] / "data" / "speech"
BASE = "moonshine-base-en-int8"
RECORDINGS = 3
"""Of the six: each takes a second of a core."""


@pytest.fixture(scope="module")
def moonshine() -> FoldedMoonshine:
    store = ModelStore(default_models_dir())
    if store.missing([CAREFUL, BASE]):
        pytest.skip(f"parley models fetch {CAREFUL} {BASE}")
    return FoldedMoonshine(store.path(BASE))


@pytest.fixture(scope="module")
def hearing(moonshine: FoldedMoonshine) -> SecondHearing:
    return second_hearing(WhisperModel(ModelStore(default_models_dir()).path(CAREFUL)), moonshine)


def test_learners_are_understood_no_worse_the_second_time(
    hearing: SecondHearing, moonshine: FoldedMoonshine
):
    with (SPEECH / "transcripts.tsv").open(encoding="utf-8") as table:
        rows = list(csv.DictReader(table, delimiter="\t"))[:RECORDINGS]
    said, first, second = [], [], []
    for row in rows:
        samples = to_float(read_recording(SPEECH / row["file"], 16_000).samples)
        first.append(normal_form(text_of(moonshine.decode(samples, lambda: False))))
        words = hearing.hear(samples)
        assert all(0.0 < sure <= 1.0 for _, sure in words)
        second.append(normal_form(" ".join(word for word, _ in words)))
        said.append(normal_form(row["transcript"]))
    assert jiwer.wer(said, second) <= jiwer.wer(said, first)


def test_noise_without_words_is_heard_without_failing(hearing: SecondHearing):
    noise = np.random.default_rng(0).normal(0.0, 0.01, 8_000).astype(np.float32)
    assert all(0.0 < sure <= 1.0 for _, sure in hearing.hear(noise))
