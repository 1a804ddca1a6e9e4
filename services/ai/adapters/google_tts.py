"""Google's Text-to-Speech: streamed by Google's official client, which Chirp voices alone can."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

from google.cloud import texttospeech_v1
from google.cloud.texttospeech_v1.services.text_to_speech.transports import (
    TextToSpeechGrpcAsyncIOTransport,
)
from pydantic import SecretStr

from services.ai.adapters.google_account import GOOGLE_IS_OVER, GoogleClient, google_failures
from services.ai.adapters.grpc_channel import exchange
from services.ai.adapters.http_failures import broke_off, unreadable
from services.ai.adapters.speech import Pieces, chosen, is_speakable, voices_of
from services.ai.capabilities import SpeechChunk, SynthesizerCapabilities, WordTiming
from services.ai.engine_file import GoogleTts
from services.ai.streams import timely

_ADDRESS = "texttospeech.googleapis.com"
_SPEEDS = (0.25, 2.0)


def synthesizer(name: str, part: GoogleTts, key: SecretStr | None) -> GoogleSynthesizer:
    """Return the synthesizer that ``part`` describes. Opens no connection yet.

    Raises ``ProviderRefusedError`` where Google's client finds no account.
    """
    return GoogleSynthesizer(name, part, key)


class GoogleSynthesizer:
    """Speaks over one client."""

    def __init__(self, name: str, part: GoogleTts, key: SecretStr | None) -> None:
        self._name = name
        self._part = part
        self._capabilities = SynthesizerCapabilities(
            sample_rate_hz=part.sample_rate_hz,
            word_timing=WordTiming.NONE,
            voices=voices_of(part.voices, part.sample_rate_hz, name),
        )
        self._client = GoogleClient(
            name,
            part,
            key,
            client=texttospeech_v1.TextToSpeechAsyncClient,
            transport=TextToSpeechGrpcAsyncIOTransport,
            address=_ADDRESS,
        )

    @property
    def capabilities(self) -> SynthesizerCapabilities:
        """What the settings say of it."""
        return self._capabilities

    async def stream(self, text: str, voice: str, speed: float) -> AsyncIterator[SpeechChunk]:
        """Yield the speech of ``text``."""
        who = chosen(voice, self._capabilities.voices, self._name)
        if not is_speakable(text):
            return
        speech = timely(
            self._speech(text, who, speed),
            first_s=self._part.first_timeout_s,
            next_s=self._part.next_timeout_s,
            who=self._name,
        )
        async with aclosing(speech) as chunks:
            async for pcm in chunks:
                yield SpeechChunk(pcm)

    async def aclose(self) -> None:
        """Close the channel."""
        await self._client.aclose()

    async def _speech(self, text: str, voice: str, speed: float) -> AsyncGenerator[bytes, None]:
        pieces = Pieces(self._part.sample_rate_hz)
        said = 0
        with google_failures(self._name):
            call = await self._client.get().streaming_synthesize(
                metadata=self._client.metadata, timeout=None
            )
        requests = self._requests(text, voice, speed)
        responses = exchange(self._name, call, requests, GOOGLE_IS_OVER)
        async with aclosing(responses):
            async for response in responses:
                said += len(response.audio_content)
                if piece := pieces.add(response.audio_content):
                    yield piece
        if rest := pieces.end():
            yield rest
        if not said:
            raise broke_off(self._name)
        if said % 2:
            raise unreadable(self._name)

    async def _requests(
        self, text: str, voice: str, speed: float
    ) -> AsyncIterator[texttospeech_v1.StreamingSynthesizeRequest]:
        language = "-".join(voice.split("-")[:2])
        yield texttospeech_v1.StreamingSynthesizeRequest(
            streaming_config=texttospeech_v1.StreamingSynthesizeConfig(
                voice=texttospeech_v1.VoiceSelectionParams(name=voice, language_code=language),
                streaming_audio_config=texttospeech_v1.StreamingAudioConfig(
                    audio_encoding=texttospeech_v1.AudioEncoding.PCM,
                    sample_rate_hertz=self._part.sample_rate_hz,
                    speaking_rate=min(max(speed, _SPEEDS[0]), _SPEEDS[1]),
                ),
            )
        )
        yield texttospeech_v1.StreamingSynthesizeRequest(
            input=texttospeech_v1.StreamingSynthesisInput(text=text)
        )
