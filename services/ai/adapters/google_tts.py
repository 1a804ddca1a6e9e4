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
from services.ai.adapters.streamed_speech import StreamedSynthesizer
from services.ai.engine_file import GoogleTts

_ADDRESS = "texttospeech.googleapis.com"
_SPEEDS = (0.25, 2.0)


def synthesizer(name: str, part: GoogleTts, key: SecretStr | None) -> StreamedSynthesizer:
    """Return the synthesizer that ``part`` describes. Opens no connection yet.

    Raises ``ProviderRefusedError`` where Google's client finds no account.
    """
    return StreamedSynthesizer(name, part, GoogleSpeechWire(name, part, key))


class GoogleSpeechWire:
    """Speaks over one client."""

    whole_samples = True

    def __init__(self, name: str, part: GoogleTts, key: SecretStr | None) -> None:
        self._name = name
        self._part = part
        self._client = GoogleClient(
            name,
            part,
            key,
            client=texttospeech_v1.TextToSpeechAsyncClient,
            transport=TextToSpeechGrpcAsyncIOTransport,
            address=_ADDRESS,
        )

    async def speak(self, text: str, voice: str, speed: float) -> AsyncGenerator[bytes, None]:
        """Yield the audio of the responses."""
        with google_failures(self._name):
            call = await self._client.get().streaming_synthesize(
                metadata=self._client.metadata, timeout=None
            )
        requests = self._requests(text, voice, speed)
        responses = exchange(self._name, call, requests, GOOGLE_IS_OVER)
        async with aclosing(responses):
            async for response in responses:
                yield response.audio_content

    async def aclose(self) -> None:
        """Close the channel."""
        await self._client.aclose()

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
