"""Loads the local models of a preset, in the order in which somebody would miss them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TypeVar

import structlog

from parley_models import ModelStore, Role
from services.ai.adapters.registry import (
    LANGUAGE_MODELS,
    RECOGNIZERS,
    SYNTHESIZERS,
    TURN_DETECTORS,
    VOICE_ACTIVITY,
    LocalRuntime,
)
from services.ai.capabilities import ProviderError
from services.ai.engines.pipeline import PipelineModels
from services.ai.engines.stages import StageNames

_log = structlog.get_logger(__name__)

T = TypeVar("T")


def load_local_models(store: ModelStore, preset: str, runtime: LocalRuntime) -> PipelineModels:
    """Load and warm every model of ``preset``. Blocking; takes seconds.

    Raises ``parley_models.ModelsError`` when files are missing, ``ProviderError`` for a model that
    no adapter knows.
    """
    names = store.require(preset).roles
    folder = store.path

    def load(role: Role, known: Mapping[str, Callable[..., T]], *arguments: object) -> T:
        name = names[role]
        if name not in known:
            raise ProviderError(f"no adapter runs the model {name!r}", retryable=False)
        started = time.monotonic()
        loaded = known[name](*arguments)
        took_ms = round(1000 * (time.monotonic() - started))
        _log.info("model_loaded", role=role.value, model=name, took_ms=took_ms)
        return loaded

    voice_activity = load(Role.VAD, VOICE_ACTIVITY, folder(names[Role.VAD]), runtime)
    turn_detector = load(Role.END_OF_TURN, TURN_DETECTORS, folder(names[Role.END_OF_TURN]), runtime)
    synthesizer = load(Role.SYNTHESIZER, SYNTHESIZERS, runtime)
    recognizer = load(Role.RECOGNIZER, RECOGNIZERS, folder(names[Role.RECOGNIZER]), runtime)
    language_model = load(
        Role.LANGUAGE_MODEL,
        LANGUAGE_MODELS,
        folder(names[Role.LANGUAGE_MODEL]),
        runtime,
    )
    return PipelineModels(
        voice_activity=voice_activity,
        turn_detector=turn_detector,
        recognizer=recognizer,
        language_model=language_model,
        synthesizer=synthesizer,
        pool=runtime.pool,
        names=StageNames(
            turn_detector=names[Role.END_OF_TURN],
            recognizer=names[Role.RECOGNIZER],
            language_model=names[Role.LANGUAGE_MODEL],
            synthesizer=names[Role.SYNTHESIZER],
        ),
    )
