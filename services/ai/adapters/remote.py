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

from services.ai.capabilities import LanguageModel, ProviderRefusedError
from services.ai.engine_file import LanguageModelPart
from services.ai.keys import KeyMissingError, find_key

_CHECKOUT = Path(__file__).parents[3]


@dataclass(frozen=True, slots=True)
class Adapter:
    """Where an adapter is, which package it needs, and where its provider's key usually is.

    ``package`` is both what is imported and the extra of Parley's distribution that brings it.
    """

    module: str
    package: str
    usual_key: str


LANGUAGE_MODELS: Mapping[str, Adapter] = {
    "openai": Adapter("services.ai.adapters.openai_chat", "openai", "OPENAI_API_KEY"),
    "anthropic": Adapter(
        "services.ai.adapters.anthropic_messages", "anthropic", "ANTHROPIC_API_KEY"
    ),
}


def language_model(
    name: str, part: LanguageModelPart, environment: Mapping[str, str] = os.environ
) -> LanguageModel:
    """Return the language model that ``part`` describes. Opens no connection.

    Raises:
        ProviderRefusedError: its package or its key is missing; the message says what to do.
    """
    return cast("LanguageModel", _made("language_model", LANGUAGE_MODELS, name, part, environment))


def install_command(extra: str) -> str:
    """Return the command that installs what the providers of ``extra`` need."""
    if (_CHECKOUT / "requirements" / "engines.txt").is_file():
        return "make engines"
    return f"{sys.executable} -m pip install 'parley-server[{extra}]'"


def _made(
    maker: str,
    adapters: Mapping[str, Adapter],
    name: str,
    part: LanguageModelPart,
    environment: Mapping[str, str],
) -> object:
    adapter = adapters[part.adapter]
    if importlib.util.find_spec(adapter.package) is None:
        raise ProviderRefusedError(
            f"{name} needs the package {adapter.package}: {install_command(adapter.package)}"
        )
    try:
        key = find_key(part, adapter.usual_key, environment)
    except KeyMissingError as error:
        raise ProviderRefusedError(f"{name} has no API key: {error}") from error
    return getattr(importlib.import_module(adapter.module), maker)(name, part, key)
