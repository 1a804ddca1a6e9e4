"""Every provider that engines name, each made once, however many engines share it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from services.ai.adapters import remote
from services.ai.adapters.local import LocalModels
from services.ai.adapters.scripted import (
    ScriptedLanguageModel,
    ScriptedRecognizer,
    ScriptedSynthesizer,
    ScriptedTurnDetector,
    ScriptedVad,
)
from services.ai.capabilities import (
    LanguageModel,
    Recognizer,
    Synthesizer,
    TurnDetector,
    VoiceActivityDetector,
)
from services.ai.engine_file import LOCAL, SCRIPTED, EngineFile, local_models
from services.ai.fallback import Named
from services.ai.script import Script
from services.ai.speech_model import SpeechModel

P = TypeVar("P")


class Parts:
    """Makes providers by their names in an engine file.

    Every method but ``aclose`` raises ``ProviderError`` or ``parley_models.ModelsError`` where a
    package, a key or a model's file is missing; the message says what to do. They block.
    """

    def __init__(
        self,
        file: EngineFile,
        local: LocalModels,
        script: Script,
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        self._file = file
        self._local = local
        self._environment = environment
        self._scripted_recognizer = ScriptedRecognizer(script)
        self._scripted_language_model = ScriptedLanguageModel(script)
        self._scripted_synthesizer = ScriptedSynthesizer(script)
        self._scripted_turn_detector = ScriptedTurnDetector(script)
        self._made: dict[tuple[str, str], Named[Any]] = {}

    def turn_taking(self, name: str) -> tuple[VoiceActivityDetector, Named[TurnDetector]]:
        """Return what hears speech and its end."""
        if name == SCRIPTED:
            return ScriptedVad(), Named(SCRIPTED, self._scripted_turn_detector)
        return self._local.voice_activity().provider, self._local.turn_detector()

    def recognizer(self, name: str) -> Named[Recognizer]:
        """Return the recognizer ``name``."""
        if name == SCRIPTED:
            return Named(SCRIPTED, self._scripted_recognizer)
        if name == LOCAL:
            return self._local.recognizer()
        if name in local_models("recognizer"):
            return self._local.recognizer(name)
        part = self._file.recognizers[name]
        return self._once(
            "recognizer", name, lambda: remote.recognizer(name, part, self._environment)
        )

    def language_model(self, name: str) -> Named[LanguageModel]:
        """Return the language model ``name``."""
        if name == SCRIPTED:
            return Named(SCRIPTED, self._scripted_language_model)
        if name == LOCAL:
            return self._local.language_model()
        if name in local_models("language_model"):
            return self._local.language_model(name)
        part = self._file.language_models[name]
        return self._once(
            "language_model", name, lambda: remote.language_model(name, part, self._environment)
        )

    def synthesizer(self, name: str) -> Named[Synthesizer]:
        """Return the synthesizer ``name``."""
        if name == SCRIPTED:
            return Named(SCRIPTED, self._scripted_synthesizer)
        if name == LOCAL:
            return self._local.synthesizer()
        part = self._file.synthesizers[name]
        return self._once(
            "synthesizer", name, lambda: remote.synthesizer(name, part, self._environment)
        )

    def speech_model(self, name: str) -> Named[SpeechModel]:
        """Return the speech-to-speech model ``name``."""
        part = self._file.speech_models[name]
        return self._once(
            "speech_model", name, lambda: remote.speech_model(name, part, self._environment)
        )

    async def aclose(self) -> None:
        """Close the connections of every provider elsewhere."""
        closings = [
            close()
            for each in self._made.values()
            if (close := getattr(each.provider, "aclose", None))
        ]
        await asyncio.gather(*closings)

    def _once(self, kind: str, name: str, make: Callable[[], P]) -> Named[P]:
        made = self._made.get((kind, name))
        if made is None:
            # One for all engines: where one has met a failure, the others need not.
            made = self._made[kind, name] = Named(name, make())
        return made
