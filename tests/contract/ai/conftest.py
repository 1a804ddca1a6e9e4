"""The language models that the contract suite is run over, each with what it is proven against."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import pytest
from pydantic import SecretStr

from parley_models import ModelsError, ModelStore, default_models_dir
from services.ai.adapters import anthropic_messages, openai_chat
from services.ai.adapters.llama import LlamaLanguageModel, LlamaSettings
from services.ai.adapters.scripted import ScriptedLanguageModel
from services.ai.capabilities import GenerationOptions, LanguageModel
from services.ai.engine_file import AnthropicMessages, OpenAiChat
from services.ai.script import Script
from tests.contract.vendors import anthropic_server as anthropic_vendor
from tests.contract.vendors import openai_server as openai_vendor

REPLY = "Très bien, 日本語 is fun! 😀 What do you like?"
"""What those that can be told to say do say."""


@dataclass(slots=True)
class Subject:
    """A language model under test. ``vendor`` is the stand-in it is connected to, if any."""

    model: LanguageModel
    vendor: Any = None
    says: str = ""
    options: GenerationOptions = field(
        default_factory=lambda: GenerationOptions(temperature=0.0, max_tokens=24)
    )


@asynccontextmanager
async def scripted() -> AsyncIterator[Subject]:
    """The scripted language model."""
    script = Script.model_validate({"language_model": {"replies": [REPLY]}})
    yield Subject(ScriptedLanguageModel(script), says=REPLY)


@asynccontextmanager
async def openai_compatible(**settings: object) -> AsyncIterator[Subject]:
    """The official client of OpenAI against a stand-in."""
    async with openai_vendor.openai_server() as vendor:
        vendor.reply = REPLY
        part = OpenAiChat.model_validate(
            {"adapter": "openai", "base_url": vendor.base_url, "model": openai_vendor.MODEL}
            | {"max_sessions": 2, **settings}
        )
        key = SecretStr(str(settings.pop("key", openai_vendor.KEY)))
        model = openai_chat.language_model("the-openai", part, key)
        try:
            yield Subject(model, vendor, REPLY)
        finally:
            await model.aclose()
        await vendor.http.until_connected(0)


@asynccontextmanager
async def anthropic(**settings: object) -> AsyncIterator[Subject]:
    """The official client of Anthropic against a stand-in."""
    async with anthropic_vendor.anthropic_server() as vendor:
        vendor.reply = REPLY
        part = AnthropicMessages.model_validate(
            {"adapter": "anthropic", "base_url": vendor.base_url, "max_sessions": 2, **settings}
        )
        model = anthropic_messages.language_model(
            "the-anthropic", part, SecretStr(anthropic_vendor.KEY)
        )
        try:
            yield Subject(model, vendor, REPLY)
        finally:
            await model.aclose()
        await vendor.http.until_connected(0)


Make: TypeAlias = Callable[..., AbstractAsyncContextManager[Subject]]

REMOTE: dict[str, Make] = {"openai": openai_compatible, "anthropic": anthropic}


@pytest.fixture(scope="module")
def local_model() -> Iterator[LlamaLanguageModel | None]:
    """The smallest real model, loaded once; None where it is not installed."""
    try:
        folder = ModelStore(default_models_dir()).path("smollm2-135m-instruct")
    except ModelsError:
        yield None
        return
    model = LlamaLanguageModel(
        LlamaSettings(next(folder.glob("*.gguf")), sessions=2, context_tokens=512, threads=1)
    )
    yield model
    model.close()


@pytest.fixture(params=["scripted", pytest.param("local", marks=pytest.mark.models), *REMOTE])
def every_model(request: pytest.FixtureRequest, local_model: LlamaLanguageModel | None) -> Make:
    """What makes a language model: the test runs over each kind."""

    @asynccontextmanager
    async def local() -> AsyncIterator[Subject]:
        if local_model is None:
            pytest.skip("the `test` preset is not installed: parley models fetch --preset test")
        # A token of it costs a core's time; three show everything.
        yield Subject(local_model, options=GenerationOptions(temperature=0.0, max_tokens=3))

    return {"scripted": scripted, "local": local, **REMOTE}[request.param]


@pytest.fixture(params=REMOTE)
def remote_model(request: pytest.FixtureRequest) -> Make:
    """What makes a language model elsewhere, connected to its vendor's stand-in."""
    return REMOTE[request.param]
