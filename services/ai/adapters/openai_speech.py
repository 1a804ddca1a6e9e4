"""Speech by OpenAI's speech interface: OpenAI itself, and servers compatible with it.

They tell no times of words. Whoever shows them shares a clause's audio out by letters.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack

from pydantic import SecretStr

from services.ai.adapters.http_client import begun
from services.ai.adapters.openai_client import client_for, failures
from services.ai.adapters.streamed_speech import StreamedSynthesizer
from services.ai.capabilities import ProviderRefusedError
from services.ai.engine_file import OpenAiSpeech

# What servers send that do not know bare PCM: played, it would be noise in a learner's ear.
_CONTAINERS = (b"RIFF", b"ID3", b"OggS", b"fLaC", b"\xff\xfb", b"\xff\xf3", b"<", b"{")
_SPEEDS = (0.5, 2.0)


def synthesizer(name: str, part: OpenAiSpeech, key: SecretStr | None) -> StreamedSynthesizer:
    """Return the synthesizer that ``part`` describes. Opens no connection yet."""
    return StreamedSynthesizer(name, part, OpenAiSpeechWire(name, part, key))


class OpenAiSpeechWire:
    """Speaks elsewhere."""

    whole_samples = False

    def __init__(self, name: str, part: OpenAiSpeech, key: SecretStr | None) -> None:
        self._name = name
        self._part = part
        self._client = client_for(part, key)

    async def speak(self, text: str, voice: str, speed: float) -> AsyncGenerator[bytes, None]:
        """Yield the body of the response."""
        create = self._client.audio.speech.with_streaming_response.create
        begins = True
        with failures(self._name):
            async with AsyncExitStack() as open_:
                response = await begun(
                    lambda: open_.enter_async_context(
                        create(
                            model=self._part.model,
                            voice=voice,
                            input=text,
                            response_format="pcm",
                            speed=min(max(speed, _SPEEDS[0]), _SPEEDS[1]),
                        )
                    )
                )
                async for data in response.iter_bytes():
                    if begins and data.startswith(_CONTAINERS):
                        raise ProviderRefusedError(f"{self._name} does not send bare PCM")
                    begins = begins and not data
                    yield data

    async def aclose(self) -> None:
        """Close every connection."""
        await self._client.close()
