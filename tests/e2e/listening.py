"""The tests' own ear: a larger recognizer than the preset `test` runs, outside every service.

It is Moonshine base, which the presets `default` and `light` run themselves: a judge from outside
for a Parley of the preset `test` alone. It reads back what the synthesizer said, so that even there
it judges no recognizer of its own kind.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import jiwer
import numpy as np

from bench.recognition_normal_form import normal_form
from parley_cli.audio.files import read_recording
from parley_models import ModelStore, default_models_dir
from services.ai.adapters.registry import RECOGNIZERS, LocalRuntime
from services.ai.compute import ComputePool

EAR = "moonshine-base-en-int8"
"""`make test` fetches it beside the preset."""

_RATE_HZ = 16_000
# Quieter than this for as long as that is a pause between two answers.
_PAUSE_RMS = 100
_PAUSE_S = 0.6


def write_down(file: Path) -> str:
    """Return what is said in a recording."""
    samples = read_recording(file, _RATE_HZ).samples
    return asyncio.run(_write_down(stretches(samples)))


def stretches(samples: np.ndarray) -> list[np.ndarray]:
    """Cut a recording at its long pauses."""
    frame = _RATE_HZ // 50
    frames = samples[: len(samples) // frame * frame].reshape(-1, frame).astype(np.float64)
    loud = np.flatnonzero(np.sqrt(np.mean(frames**2, axis=1)) > _PAUSE_RMS)
    if not len(loud):
        return []
    breaks = np.flatnonzero(np.diff(loud) > _PAUSE_S * 50)
    firsts = [loud[0], *loud[breaks + 1]]
    lasts = [*loud[breaks], loud[-1]]
    margin = 5
    return [
        samples[max(0, first - margin) * frame : (last + 1 + margin) * frame]
        for first, last in zip(firsts, lasts, strict=True)
    ]


async def _write_down(parts: list[np.ndarray]) -> str:
    pool = ComputePool(1, 1)
    try:
        runtime = LocalRuntime(pool, sessions=1, context_tokens=1024, language_model_threads=1)
        recognizer = RECOGNIZERS[EAR](ModelStore(default_models_dir()).path(EAR), runtime)
        heard = []
        for part in parts:
            session = recognizer.open()
            session.feed(part)
            heard.append((await session.final()).verbatim)
            session.close()
        return " ".join(heard)
    finally:
        pool.close()


def word_error_rate(said: str, heard: str) -> float:
    """Compare what was said with what was heard, 0 to 1 and above."""
    return float(jiwer.wer(normal_form(said), normal_form(heard)))
