"""Text by OpenAI's chat completions: OpenAI itself, vLLM, llama.cpp's server, Ollama and others.

The official client speaks the protocol: it knows the failures and the forms of the stream that its
own server has, and compatible servers are tested against it. Its retries are switched off, since
they wait up to eight seconds; a chain of providers does better.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import httpx2
import openai
from openai.types.chat import ChatCompletionChunk
from pydantic import SecretStr

from services.ai.adapters.chat import Delta, Ending, RemoteLanguageModel
from services.ai.adapters.http_failures import status_failure, unreachable, unreadable
from services.ai.capabilities import (
    GenerationOptions,
    Message,
    ProviderTimeoutError,
)
from services.ai.engine_file import OpenAiChat, RemotePart

_OWN_ADDRESS = "https://api.openai.com/v1"
# The client insists on a key; servers of one's own that want none ignore it.
_NO_KEY = "none"


def language_model(name: str, part: OpenAiChat, key: SecretStr | None) -> RemoteLanguageModel:
    """Return the language model that ``part`` describes. Opens no connection yet."""
    return RemoteLanguageModel(name, part, OpenAiWire(name, part, key), part.context_tokens)


def client_for(part: RemotePart, key: SecretStr | None) -> openai.AsyncOpenAI:
    """Return a client of ``part``'s address that never tries twice by itself.

    Every address and key is given, so that nothing of the environment sends it elsewhere.
    """
    return openai.AsyncOpenAI(
        api_key=key.get_secret_value() if key else _NO_KEY,
        base_url=part.base_url or _OWN_ADDRESS,
        organization="",
        project="",
        timeout=httpx2.Timeout(part.first_timeout_s, connect=part.connect_timeout_s),
        max_retries=0,
    )


@contextmanager
def failures(who: str) -> Iterator[None]:
    """Tell of what the client raises as ``ProviderError``."""
    try:
        yield
    except openai.APIStatusError as error:
        code = error.code or error.type
        raise status_failure(who, error.status_code, code, error.response.headers) from error
    except openai.APITimeoutError as error:
        raise ProviderTimeoutError(f"{who} took too long to answer") from error
    except openai.APIConnectionError as error:
        raise unreachable(who) from error
    except openai.APIError as error:
        # In the middle of a stream: its body is the failure's, its status was 200.
        raise status_failure(who, 500, error.code or error.type, {}) from error
    except (openai.OpenAIError, httpx2.HTTPError, ValueError, TypeError, AttributeError) as error:
        # The client builds its objects without checking them: wrong forms show where they are used.
        raise unreadable(who) from error


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
            async with await self._begin(self._request(system, messages, options)) as stream:
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

    async def _begin(self, request: dict[str, Any]) -> openai.AsyncStream[ChatCompletionChunk]:
        create = self._client.chat.completions.create
        stream: openai.AsyncStream[ChatCompletionChunk]
        try:
            stream = await create(**request, stream=True)
        except openai.APITimeoutError:
            raise
        except openai.APIConnectionError:
            # A kept connection that the server closed meanwhile: nothing was begun, so once more.
            stream = await create(**request, stream=True)
        return stream


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
