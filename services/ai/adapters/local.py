"""This machine's models, a preset's or by name, each loaded when it is first asked for."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

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
from services.ai.capabilities import (
    LanguageModel,
    ProviderError,
    Recognizer,
    Synthesizer,
    TurnDetector,
    VoiceActivityDetector,
)
from services.ai.engines.pipeline import PipelineModels
from services.ai.engines.stages import StageNames
from services.ai.fallback import Named

_log = structlog.get_logger(__name__)


class LocalModels:
    """The models in ``store``; those of ``preset`` where none is named.

    Loading one blocks, for up to seconds. Every method raises ``parley_models.ModelsError`` when
    files are missing or there is no such preset, ``ProviderError`` for a model that no adapter
    knows.
    """

    def __init__(
        self,
        store: ModelStore,
        preset: str,
        runtime: LocalRuntime,
        *,
        hear_closely: bool = False,
    ) -> None:
        """``hear_closely``: the model that hears turns again hears them the first time as well."""
        self._store = store
        self._preset = preset
        self._runtime = runtime
        self._hear_closely = hear_closely
        # By name, and whether it hears closely.
        self._loaded: dict[tuple[str, bool], Any] = {}

    def require(self) -> None:
        """Raise, with the one command that mends it, unless every model of the preset is there."""
        self._store.require(self._preset)

    def voice_activity(self) -> Named[VoiceActivityDetector]:
        """Return the voice activity detector."""
        return self._model(Role.VAD, VOICE_ACTIVITY)

    def turn_detector(self) -> Named[TurnDetector]:
        """Return the turn detector."""
        return self._model(Role.END_OF_TURN, TURN_DETECTORS)

    def recognizer(self, name: str = "") -> Named[Recognizer]:
        """Return the recognizer; the one of the preset is named after what hears closely in it."""
        closely = self._hear_closely and not name
        named: Named[Recognizer] = self._model(Role.RECOGNIZER, RECOGNIZERS, name, closely=closely)
        return Named(self._careful_name, named.provider) if closely else named

    def language_model(self, name: str = "") -> Named[LanguageModel]:
        """Return the language model."""
        return self._model(Role.LANGUAGE_MODEL, LANGUAGE_MODELS, name)

    def synthesizer(self) -> Named[Synthesizer]:
        """Return the synthesizer."""
        return self._model(Role.SYNTHESIZER, SYNTHESIZERS)

    def careful(self) -> Path | None:
        """Return the folder of the model that hears turns again; None where none is installed."""
        name = self._careful_name
        return None if self._store.missing([name]) else self._store.path(name)

    @property
    def _careful_name(self) -> str:
        models = self._store.manifest.models.items()
        return next(name for name, model in models if model.role is Role.RECOGNIZER_CAREFUL)

    def _model(
        self,
        role: Role,
        known: Mapping[str, Callable[..., Any]],
        name: str = "",
        *,
        closely: bool = False,
    ) -> Named[Any]:
        manifest = self._store.manifest
        name = name or manifest.preset(self._preset).roles[role]
        if (name, closely) not in self._loaded:
            if name not in known:
                raise ProviderError(f"no adapter runs the model {name!r}", retryable=False)
            is_library = manifest.model(name).library is not None
            folder = None if is_library else self._store.path(name)
            started = time.monotonic()
            runtime = self._runtime
            if closely:
                runtime = replace(
                    runtime,
                    careful=self._store.path(self._careful_name),
                    pauses=self.voice_activity().provider,
                )
            elif role is Role.RECOGNIZER and runtime.spare is not None:
                runtime = replace(runtime, careful=runtime.careful or self.careful())
            self._loaded[name, closely] = known[name](folder, runtime)
            took_ms = round(1000 * (time.monotonic() - started))
            _log.info("model_loaded", role=role.value, model=name, took_ms=took_ms)
        return Named(name, self._loaded[name, closely])


def load_local_models(store: ModelStore, preset: str, runtime: LocalRuntime) -> PipelineModels:
    """Load and warm every model of ``preset``. Blocking; takes seconds.

    Raises ``parley_models.ModelsError`` when files are missing, ``ProviderError`` for a model that
    no adapter knows.
    """
    models = LocalModels(store, preset, runtime)
    models.require()
    # In the order in which somebody would miss them.
    voice_activity = models.voice_activity()
    turn_detector = models.turn_detector()
    synthesizer = models.synthesizer()
    recognizer = models.recognizer()
    language_model = models.language_model()
    return PipelineModels(
        voice_activity=voice_activity.provider,
        turn_detector=turn_detector.provider,
        recognizer=recognizer.provider,
        language_model=language_model.provider,
        synthesizer=synthesizer.provider,
        pool=runtime.pool,
        names=StageNames(
            turn_detector=turn_detector.name,
            recognizer=recognizer.name,
            language_model=language_model.name,
            synthesizer=synthesizer.name,
        ),
    )
