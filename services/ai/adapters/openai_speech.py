"""Speech by OpenAI's speech interface: OpenAI itself, and servers compatible with it.

They tell no times of words. Whoever shows them shares a clause's audio out by letters.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, aclosing

from pydantic import SecretStr

from services.ai.adapters.http_failures import broke_off
from services.ai.adapters.openai_client import begun, client_for, failures
from services.ai.adapters.speech import Pieces, chosen, is_speakable, voices_of
from services.ai.capabilities import (
    ProviderRefusedError,
    SpeechChunk,
    SynthesizerCapabilities,
    WordTiming,
)
from services.ai.engine_file import OpenAiSpeech
from services.ai.streams import timely

# What servers send that do not know bare PCM: played, it would be noise in a learner's ear.
_CONTAINERS = (b"RIFF", b"ID3", b"OggS", b"fLaC", b"\xff\xfb", b"\xff\xf3", b"<", b"{")


def synthesizer(name: str, part: OpenAiSpeech, key: SecretStr | None) -> OpenAiSynthesizer:
    """Return the synthesizer that ``part`` describes. Opens no connection yet."""
    return OpenAiSynthesizer(name, part, key)


class OpenAiSynthesizer:
    """Speaks elsewhere."""

    def __init__(self, name: str, part: OpenAiSpeech, key: SecretStr | None) -> None:
        self._name = name
        self._part = part
        self._client = client_for(part, key)
        self._capabilities = SynthesizerCapabilities(
            sample_rate_hz=part.sample_rate_hz,
            word_timing=WordTiming.NONE,
            voices=voices_of(part.voices, part.sample_rate_hz, name),
        )

    @property
    def capabilities(self) -> SynthesizerCapabilities:
        """The voices of the settings; no times of words."""
        return self._capabilities

    async def stream(self, text: str, voice: str, speed: float) -> AsyncIterator[SpeechChunk]:
        """Yield the speech as it arrives."""
        voice = chosen(voice, self._capabilities.voices, self._name)
        if not is_speakable(text):
            return
        speech = timely(
            self._pieces(text, voice, min(max(speed, 0.5), 2.0)),
            first_s=self._part.first_timeout_s,
            next_s=self._part.next_timeout_s,
            who=self._name,
        )
        async with aclosing(speech) as pieces:
            async for piece in pieces:
                yield SpeechChunk(piece)

    async def aclose(self) -> None:
        """Close every connection."""
        await self._client.close()

    async def _pieces(self, text: str, voice: str, speed: float) -> AsyncGenerator[bytes, None]:
        pieces = Pieces(self._part.sample_rate_hz)
        create = self._client.audio.speech.with_streaming_response.create
        said = False
        with failures(self._name):
            async with AsyncExitStack() as open_:
                response = await begun(
                    lambda: open_.enter_async_context(
                        create(
                            model=self._part.model,
                            voice=voice,
                            input=text,
                            response_format="pcm",
                            speed=speed,
                        )
                    )
                )
                async for data in response.iter_bytes():
                    if not said and data.startswith(_CONTAINERS):
                        raise ProviderRefusedError(f"{self._name} does not send bare PCM")
                    said = said or bool(data)
                    if piece := pieces.add(data):
                        yield piece
        if not said:
            raise broke_off(self._name)
        if piece := pieces.end():
            yield piece
