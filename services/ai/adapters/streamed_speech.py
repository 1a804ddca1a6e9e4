"""Speech by servers that send bare PCM while they speak, whatever their protocol."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Protocol

from services.ai.adapters.http_failures import broke_off, unreadable
from services.ai.adapters.speech import Pieces, chosen, is_speakable, voices_of
from services.ai.capabilities import SpeechChunk, SynthesizerCapabilities, WordTiming
from services.ai.engine_file import GoogleTts, OpenAiSpeech, RivaSpeech
from services.ai.streams import timely


class SpeechWire(Protocol):
    """One provider's protocol.

    ``whole_samples``: it counts what it sends, so an end within a sample is a fault.
    """

    whole_samples: bool

    def speak(self, text: str, voice: str, speed: float) -> AsyncGenerator[bytes, None]:
        """Yield the speech of ``text`` as it arrives: int16 little-endian PCM, mono, in any sizes.

        Raises ``ProviderError``.
        """

    async def aclose(self) -> None:
        """Close every connection."""


class StreamedSynthesizer:
    """Speaks over streams of one wire. They tell no times of words."""

    def __init__(
        self, name: str, part: OpenAiSpeech | GoogleTts | RivaSpeech, wire: SpeechWire
    ) -> None:
        self._name = name
        self._part = part
        self._wire = wire
        self._capabilities = SynthesizerCapabilities(
            sample_rate_hz=part.sample_rate_hz,
            word_timing=WordTiming.NONE,
            voices=voices_of(part.voices, part.sample_rate_hz, name),
        )

    @property
    def capabilities(self) -> SynthesizerCapabilities:
        """What the settings say of it."""
        return self._capabilities

    async def stream(self, text: str, voice: str, speed: float) -> AsyncIterator[SpeechChunk]:
        """Yield the speech of ``text`` as it arrives."""
        who = chosen(voice, self._capabilities.voices, self._name)
        if not is_speakable(text):
            return
        speech = timely(
            self._joined(text, who, speed),
            first_s=self._part.first_timeout_s,
            next_s=self._part.next_timeout_s,
            who=self._name,
        )
        async with aclosing(speech) as pieces:
            async for piece in pieces:
                yield SpeechChunk(piece)

    async def aclose(self) -> None:
        """Close every connection."""
        await self._wire.aclose()

    async def _joined(self, text: str, voice: str, speed: float) -> AsyncGenerator[bytes, None]:
        pieces = Pieces(self._part.sample_rate_hz)
        said = 0
        async with aclosing(self._wire.speak(text, voice, speed)) as parts:
            async for part in parts:
                said += len(part)
                if piece := pieces.add(part):
                    yield piece
        if rest := pieces.end():
            yield rest
        if not said:
            raise broke_off(self._name)
        if said % 2 and self._wire.whole_samples:
            raise unreadable(self._name)
