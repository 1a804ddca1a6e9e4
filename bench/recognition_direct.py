"""The recognizer alone: each recording whole, in this process, with no service around it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bench.speech import Utterance
from parley_models import ModelStore, Role, default_models_dir
from services.ai.adapters.registry import RECOGNIZERS, LocalRuntime
from services.ai.compute import ComputePool


async def recognize_directly(preset: str, utterances: Sequence[Utterance]) -> dict[str, str]:
    """Return what the recognizer of ``preset`` hears, by recording's name.

    Raises:
        parley_models.ModelMissingError: its text names the command that installs the models.
    """
    store = ModelStore(default_models_dir())
    name = store.require(preset).roles[Role.RECOGNIZER]
    pool = ComputePool(1, len(utterances))
    try:
        runtime = LocalRuntime(pool, sessions=1, context_tokens=1024, language_model_threads=1)
        recognizer = RECOGNIZERS[name](store.path(name), runtime)
        heard = {}
        for utterance in utterances:
            session = recognizer.open()
            session.feed(np.asarray(utterance.samples, np.int16))
            heard[utterance.name] = (await session.final()).verbatim
            session.close()
        return heard
    finally:
        pool.close()
