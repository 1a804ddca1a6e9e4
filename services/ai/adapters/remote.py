"""Adapters of providers elsewhere. A new one is a file beside this, its settings, and a line here.

Their packages are extras: an adapter is imported only once an engine needs it.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from services.ai.capabilities import (
    LanguageModel,
    ProviderRefusedError,
    Recognizer,
    Synthesizer,
)
from services.ai.engine_file import (
    Elsewhere,
    LanguageModelPart,
    RecognizerPart,
    RemotePart,
    SpeechModelPart,
    SynthesizerPart,
)
from services.ai.keys import KeyMissingError, find_key
from services.ai.speech_model import SpeechModel

_CHECKOUT = Path(__file__).parents[3]


@dataclass(frozen=True, slots=True)
class Adapter:
    """Where an adapter is, which package it needs, and where its provider's key usually is.

    ``extra`` of Parley's distribution brings the package.
    """

    module: str
    package: str
    extra: str
    usual_key: str = ""


_OPENAI_KEY = "OPENAI_API_KEY"
RECOGNIZERS: Mapping[str, Adapter] = {
    "openai": Adapter("services.ai.adapters.openai_transcription", "openai", "openai", _OPENAI_KEY),
    "google": Adapter("services.ai.adapters.google_speech", "google.cloud.speech_v2", "google"),
    "riva": Adapter("services.ai.adapters.riva_speech", "riva.client", "riva"),
}
LANGUAGE_MODELS: Mapping[str, Adapter] = {
    "openai": Adapter("services.ai.adapters.openai_chat", "openai", "openai", _OPENAI_KEY),
    "anthropic": Adapter(
        "services.ai.adapters.anthropic_messages", "anthropic", "anthropic", "ANTHROPIC_API_KEY"
    ),
}
SYNTHESIZERS: Mapping[str, Adapter] = {
    "openai": Adapter("services.ai.adapters.openai_speech", "openai", "openai", _OPENAI_KEY),
    "edge": Adapter("services.ai.adapters.edge_speech", "edge_tts", "edge"),
    "google": Adapter("services.ai.adapters.google_tts", "google.cloud.texttospeech_v1", "google"),
    "riva": Adapter("services.ai.adapters.riva_speech", "riva.client", "riva"),
}

SPEECH_MODELS: Mapping[str, Adapter] = {
    "openai": Adapter("services.ai.adapters.openai_realtime", "openai", "openai", _OPENAI_KEY),
    "gemini": Adapter(
        "services.ai.adapters.gemini_live", "google.genai", "gemini", "GEMINI_API_KEY"
    ),
}


def recognizer(
    name: str, part: RecognizerPart, environment: Mapping[str, str] = os.environ
) -> Recognizer:
    """Return the recognizer that ``part`` describes. Opens no connection.

    Raises:
        ProviderRefusedError: its package or its key is missing; the message says what to do.
    """
    adapter = RECOGNIZERS[part.adapter]
    return cast("Recognizer", _made("recognizer", adapter, name, part, environment))


def language_model(
    name: str, part: LanguageModelPart, environment: Mapping[str, str] = os.environ
) -> LanguageModel:
    """Return the language model that ``part`` describes; otherwise as ``recognizer``."""
    adapter = LANGUAGE_MODELS[part.adapter]
    return cast("LanguageModel", _made("language_model", adapter, name, part, environment))


def synthesizer(
    name: str, part: SynthesizerPart, environment: Mapping[str, str] = os.environ
) -> Synthesizer:
    """Return the synthesizer that ``part`` describes; otherwise as ``recognizer``."""
    adapter = SYNTHESIZERS[part.adapter]
    return cast("Synthesizer", _made("synthesizer", adapter, name, part, environment))


def speech_model(
    name: str, part: SpeechModelPart, environment: Mapping[str, str] = os.environ
) -> SpeechModel:
    """Return the speech-to-speech model that ``part`` describes; otherwise as ``recognizer``."""
    adapter = SPEECH_MODELS[part.adapter]
    return cast("SpeechModel", _made("speech_model", adapter, name, part, environment))


def install_command(extra: str) -> str:
    """Return the command that installs what the providers of ``extra`` need."""
    if (_CHECKOUT / "requirements" / "engines.txt").is_file():
        return "make engines"
    if extra == "riva":
        # It forbids the release of websockets that the services use, for what is not used of it.
        return f"{sys.executable} -m pip install --no-deps nvidia-riva-client"
    return f"{sys.executable} -m pip install 'parley-server[{extra}]'"


def _made(
    maker: str, adapter: Adapter, name: str, part: Elsewhere, environment: Mapping[str, str]
) -> object:
    if not _is_installed(adapter.package):
        raise ProviderRefusedError(
            f"{name} needs the package {adapter.package}: {install_command(adapter.extra)}"
        )
    key = None
    if isinstance(part, RemotePart):
        try:
            key = find_key(part, adapter.usual_key, environment)
        except KeyMissingError as error:
            raise ProviderRefusedError(f"{name} has no API key: {error}") from error
    return getattr(importlib.import_module(adapter.module), maker)(name, part, key)


def _is_installed(package: str) -> bool:
    """Whether ``package`` can be imported; nothing of it is run but the packages that hold it."""
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:
        return False
