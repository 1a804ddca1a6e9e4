"""Hearing closely on real speech, where its models are installed."""

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
from services.ai.adapters.registry import RECOGNIZERS, VOICE_ACTIVITY, LocalRuntime
from services.ai.capabilities import HearsAgain, Pcm16, Recognizer
from services.ai.compute import ComputePool
from services.ai.spare_time import SpareTime

pytestmark = [
    pytest.mark.models,
    pytest.mark.leaves_behind("the models of the module keep their threads until its end"),
]

SPEECH = Path(__file__).parents[2] / "data" / "speech"
BASE = "moonshine-base-en-int8"
VAD = "silero-vad"


@pytest.fixture(scope="module")
def recognizer() -> Iterator[Recognizer]:
    store = ModelStore(default_models_dir())
    if store.missing([CAREFUL, BASE, VAD]):
        pytest.skip(f"parley models fetch {CAREFUL} {BASE} {VAD}")
    pool, spare = ComputePool(1, 8), SpareTime()
    runtime = LocalRuntime(pool, sessions=1, context_tokens=1024, language_model_threads=1)
    pauses = VOICE_ACTIVITY[VAD](store.path(VAD), runtime)
    closely = LocalRuntime(
        pool,
        sessions=1,
        context_tokens=1024,
        language_model_threads=1,
        careful=store.path(CAREFUL),
        spare=spare,
        pauses=pauses,
    )
    yield RECOGNIZERS[BASE](store.path(BASE), closely)
    spare.close()
    pool.close()


def recordings() -> list[tuple[Pcm16, str]]:
    with (SPEECH / "transcripts.tsv").open(encoding="utf-8") as table:
        rows = list(csv.DictReader(table, delimiter="\t"))
    return [
        (np.asarray(read_recording(SPEECH / row["file"], 16_000).samples), row["transcript"])
        for row in rows
    ]


async def test_learners_are_understood_while_they_speak(recognizer: Recognizer):
    said, heard = [], []
    for pcm, text in recordings():
        session = recognizer.open()
        for start in range(0, len(pcm), 8_000):
            session.feed(pcm[start : start + 8_000])
            assert await session.partial() is not None
        transcript = await session.final()
        session.close()
        assert all(0.0 < word.confidence <= 1.0 for word in transcript.words)
        assert all(0 <= word.start_ms <= word.end_ms for word in transcript.words)
        said.append(normal_form(text))
        heard.append(normal_form(transcript.verbatim))
    assert jiwer.wer(said, heard) < 0.35


async def test_two_sentences_with_a_long_pause_are_both_heard(recognizer: Recognizer):
    (first, one), (second, other), *_ = recordings()
    session = recognizer.open()
    session.feed(np.concatenate([first, np.zeros(12_800, np.int16), second]))
    transcript = await session.final()
    assert jiwer.wer(normal_form(f"{one} {other}"), normal_form(transcript.verbatim)) < 0.5
    assert isinstance(session, HearsAgain)
    again = await session.again(())
    session.close()
    assert session.again_by == f"{CAREFUL}+{BASE}"
    assert again is not None
    assert not again.is_empty


async def test_noise_has_no_words(recognizer: Recognizer):
    session = recognizer.open()
    session.feed(np.random.default_rng(0).normal(0, 300, 24_000).astype(np.int16))
    assert (await session.final()).is_empty
    session.close()
