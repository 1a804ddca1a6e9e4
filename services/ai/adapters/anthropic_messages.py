"""Text by Anthropic's messages, through the official client.

What a conversation begins with, and what was said before, is marked to be cached: of a prompt of
more than 512 tokens only the last turn is then paid for in full, and read anew.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import anthropic
import httpx2
from anthropic.types import RawMessageStreamEvent
from pydantic import SecretStr

from services.ai.adapters.chat import Delta, Ending, RemoteLanguageModel
from services.ai.adapters.http_client import begun, http_arguments, without
from services.ai.adapters.http_failures import (
    keep_quiet,
    status_failure,
    unreachable,
    unreadable,
)
from services.ai.capabilities import (
    GenerationOptions,
    Message,
    ProviderTimeoutError,
)
from services.ai.engine_file import AnthropicMessages

_OWN_ADDRESS = "https://api.anthropic.com"
_NO_KEY = "none"
_CACHED = {"type": "ephemeral"}

keep_quiet("anthropic")


def language_model(
    name: str, part: AnthropicMessages, key: SecretStr | None
) -> RemoteLanguageModel:
    """Return the language model that ``part`` describes. Opens no connection yet."""
    return RemoteLanguageModel(name, part, AnthropicWire(name, part, key), part.context_tokens)


@contextmanager
def failures(who: str) -> Iterator[None]:
    """Tell of what the client raises as ``ProviderError``."""
    try:
        yield
    except anthropic.APIStatusError as error:
        headers = error.response.headers
        raise status_failure(who, error.status_code, error.type, headers) from error
    except (anthropic.APITimeoutError, httpx2.TimeoutException) as error:
        raise ProviderTimeoutError(f"{who} took too long to answer") from error
    except (anthropic.APIConnectionError, httpx2.TransportError) as error:
        raise unreachable(who) from error
    except (
        anthropic.AnthropicError,
        httpx2.HTTPError,
        ValueError,
        TypeError,
        AttributeError,
    ) as error:
        # The client builds its objects without checking them: wrong forms show where they are used.
        raise unreadable(who) from error


class AnthropicWire:
    """Writes replies over one client's connections."""

    def __init__(self, name: str, part: AnthropicMessages, key: SecretStr | None) -> None:
        self._name = name
        self._part = part
        # Every address and key is given, so that nothing of the environment sends it elsewhere. The
        # client's own retries wait for seconds; a chain of providers does better.
        http = http_arguments(part)
        with without("ANTHROPIC_CUSTOM_HEADERS"):
            self._client = anthropic.AsyncAnthropic(
                api_key=key.get_secret_value() if key else _NO_KEY,
                base_url=part.base_url or _OWN_ADDRESS,
                timeout=http["timeout"],
                max_retries=0,
                http_client=anthropic.DefaultAsyncHttpxClient(**http),
            )

    async def deltas(
        self, system: str, messages: Sequence[Message], options: GenerationOptions
    ) -> AsyncGenerator[Delta, None]:
        """Yield the reply."""
        with failures(self._name):
            request = self._request(system, messages, options)
            create = self._client.messages.create
            stream: anthropic.AsyncStream[RawMessageStreamEvent]
            stream = await begun(lambda: create(**request, stream=True))
            async with stream:
                async for event in stream:
                    delta = _read(event)
                    if delta.text or delta.ending:
                        yield delta

    async def aclose(self) -> None:
        """Close every connection."""
        await self._client.close()

    def _request(
        self, system: str, messages: Sequence[Message], options: GenerationOptions
    ) -> dict[str, Any]:
        part = self._part
        request: dict[str, Any] = {
            "model": part.model,
            "max_tokens": options.max_tokens,
            "messages": [{"role": each.role.value, "content": each.text} for each in messages],
            # The end of this prompt is the beginning of the next turn's.
            "cache_control": _CACHED,
            "extra_body": dict(part.extra),
        }
        if system:
            request["system"] = [{"type": "text", "text": system, "cache_control": _CACHED}]
        if part.thinking == "off":
            request["thinking"] = {"type": "disabled"}
        if part.sampling:
            # One of the two: the models that take them refuse both together.
            request["temperature"] = min(options.temperature, 1.0)
        return request


def _read(event: RawMessageStreamEvent) -> Delta:
    # Thoughts, and whatever else a block may hold, are not said.
    if event.type == "content_block_delta" and event.delta.type == "text_delta":
        return Delta(event.delta.text)
    if event.type == "message_delta" and event.delta.stop_reason:
        declined = event.delta.stop_reason == "refusal"
        return Delta(ending=Ending.DECLINED if declined else Ending.COMPLETE)
    return Delta()
