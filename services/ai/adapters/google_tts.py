"""Google's Text-to-Speech: streamed by Google's official client, which Chirp voices alone can."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing

import grpc.aio
from google.api_core.client_options import ClientOptions
from google.cloud import texttospeech_v1
from google.cloud.texttospeech_v1.services.text_to_speech.transports import (
    TextToSpeechGrpcAsyncIOTransport,
)
from pydantic import SecretStr

from services.ai.adapters import grpc_channel
from services.ai.adapters.google_speech import GOOGLE_IS_OVER, google_failures, key_metadata
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
        self._channel: grpc.aio.Channel | None = None
        self._metadata = key_metadata(key) if part.base_url else []
        self._capabilities = SynthesizerCapabilities(
            sample_rate_hz=part.sample_rate_hz,
            word_timing=WordTiming.NONE,
            voices=voices_of(part.voices, part.sample_rate_hz, name),
        )
        with google_failures(name):
            self._client = self._make_client(key)

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
        close: Callable[[], Awaitable[None]] = self._client.transport.close
        await close()

    async def _speech(self, text: str, voice: str, speed: float) -> AsyncGenerator[bytes, None]:
        pieces = Pieces(self._part.sample_rate_hz)
        said = 0
        with google_failures(self._name):
            call = await self._client.streaming_synthesize(metadata=self._metadata, timeout=None)
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

    def _make_client(self, key: SecretStr | None) -> texttospeech_v1.TextToSpeechAsyncClient:
        part = self._part
        if part.base_url:
            self._channel = grpc_channel.channel_to(part.base_url)
            transport = TextToSpeechGrpcAsyncIOTransport(channel=self._channel)
            return texttospeech_v1.TextToSpeechAsyncClient(transport=transport)
        options = ClientOptions(api_endpoint=_ADDRESS)
        if key is not None:
            options.api_key = key.get_secret_value()
        elif part.credentials_file is not None:
            path = str(part.credentials_file.expanduser())
            client: texttospeech_v1.TextToSpeechAsyncClient
            client = texttospeech_v1.TextToSpeechAsyncClient.from_service_account_file(
                path, client_options=options
            )
            return client
        return texttospeech_v1.TextToSpeechAsyncClient(client_options=options)
