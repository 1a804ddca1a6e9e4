"""Text by OpenAI's chat completions: OpenAI itself, vLLM, llama.cpp's server, Ollama and others."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Any

import openai
from openai.types.chat import ChatCompletionChunk
from pydantic import SecretStr

from services.ai.adapters.chat import Delta, Ending, RemoteLanguageModel
from services.ai.adapters.http_client import begun
from services.ai.adapters.openai_client import client_for, failures
from services.ai.capabilities import GenerationOptions, Message
from services.ai.engine_file import OpenAiChat


def language_model(name: str, part: OpenAiChat, key: SecretStr | None) -> RemoteLanguageModel:
    """Return the language model that ``part`` describes. Opens no connection yet."""
    return RemoteLanguageModel(name, part, OpenAiWire(name, part, key), part.context_tokens)


class OpenAiWire:
    """Writes replies over one client's connections."""

    def __init__(self, name: str, part: OpenAiChat, key: SecretStr | None) -> None:
        self._name = name
        self._part = part
        self._client = client_for(part, key)

    async def deltas(
        self, system: str, messages: Sequence[Message], options: GenerationOptions
    ) -> AsyncGenerator[Delta, None]:
        """Yield the reply."""
        with failures(self._name):
            request = self._request(system, messages, options)
            create = self._client.chat.completions.create
            stream: openai.AsyncStream[ChatCompletionChunk]
            stream = await begun(lambda: create(**request, stream=True))
            async with stream:
                async for chunk in stream:
                    delta = _read(chunk)
                    if delta.text or delta.ending:
                        yield delta

    async def aclose(self) -> None:
        """Close every connection."""
        await self._client.close()

    def _request(
        self, system: str, messages: Sequence[Message], options: GenerationOptions
    ) -> dict[str, Any]:
        part = self._part
        # Compatible servers know the older name alone, OpenAI's newer models the newer.
        limit = "max_completion_tokens" if part.base_url is None else "max_tokens"
        request: dict[str, Any] = {
            "model": part.model,
            "messages": [
                *([{"role": "system", "content": system}] if system else []),
                *({"role": each.role.value, "content": each.text} for each in messages),
            ],
            limit: options.max_tokens,
            "extra_body": dict(part.extra),
        }
        if part.sampling:
            request |= {"temperature": options.temperature, "top_p": options.top_p}
            if options.seed is not None:
                request["seed"] = options.seed
        return request


def _read(chunk: ChatCompletionChunk) -> Delta:
    text = ""
    ending = None
    # Some servers end with a chunk that has only the usage.
    for choice in chunk.choices:
        text += choice.delta.content or ""
        if choice.finish_reason:
            declined = choice.finish_reason == "content_filter"
            ending = Ending.DECLINED if declined else Ending.COMPLETE
    return Delta(text, ending)
