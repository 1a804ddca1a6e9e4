"""The recognizer alone: each recording whole, in this process, with no service around it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bench.speech import Utterance
from parley_models import ModelStore, Role, default_models_dir
from services.ai.adapters.moonshine import BASE_PIECE_S, TINY_PIECE_S, MoonshineRecognizer
from services.ai.adapters.registry import MOONSHINES
from services.ai.compute import ComputePool


async def recognize_directly(preset: str, utterances: Sequence[Utterance]) -> dict[str, str]:
    """Return what the recognizer of ``preset`` hears, by recording's name.

    Raises:
        parley_models.ModelMissingError: its text names the command that installs the models.
    """
    store = ModelStore(default_models_dir())
    name = store.require(preset).roles[Role.RECOGNIZER]
    model = MOONSHINES[name](store.path(name))
    pool = ComputePool(1, len(utterances))
    try:
        whole = TINY_PIECE_S if "tiny" in name else BASE_PIECE_S
        recognizer = MoonshineRecognizer(model, model, pool, final_piece_s=whole)
        heard = {}
        for utterance in utterances:
            session = recognizer.open()
            session.feed(np.asarray(utterance.samples, np.int16))
            heard[utterance.name] = (await session.final()).verbatim
            session.close()
        return heard
    finally:
        pool.close()
