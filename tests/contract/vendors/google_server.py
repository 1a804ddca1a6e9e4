"""A stand-in for Google's speech services, over their own protobuf messages."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from google.cloud import speech_v2, texttospeech_v1

from tests.contract.vendors.grpc_server import Context, GrpcVendor, grpc_server, stream_handler

KEY = "test-google"
PROJECT = "parley-test"


class GoogleServer(GrpcVendor):
    """The stand-in, with the rules on which Google insists."""

    async def StreamingRecognize(self, _: object, context: Context) -> None:
        """Recognise one stream."""
        first = await context.read()
        assert first.recognizer == f"projects/{PROJECT}/locations/global/recognizers/_"
        config = first.streaming_config.config
        decoding = config.explicit_decoding_config
        assert (decoding.sample_rate_hertz, decoding.audio_channel_count) == (16_000, 1)
        assert first.streaming_config.streaming_features.interim_results

        def sound(message: speech_v2.StreamingRecognizeRequest) -> bytes:
            # Google takes no more in one message.
            assert 0 < len(message.audio) <= 25_600
            return message.audio

        def words(texts: list[str], final: bool) -> bytes:
            best = speech_v2.SpeechRecognitionAlternative(
                transcript=" ".join(texts), confidence=0.9 if final else 0.0
            )
            if final and config.features.enable_word_time_offsets:
                best.words = [_word(text, index) for index, text in enumerate(texts)]
            result = speech_v2.StreamingRecognitionResult(alternatives=[best], is_final=final)
            response = speech_v2.StreamingRecognizeResponse(results=[result])
            return speech_v2.StreamingRecognizeResponse.serialize(response)

        await self.recognize(context, first, sound, words)

    async def StreamingSynthesize(self, _: object, context: Context) -> None:
        """Speak one text."""
        first = await context.read()
        config = first.streaming_config
        audio = config.streaming_audio_config
        assert config.voice.name.startswith(config.voice.language_code)
        assert (audio.audio_encoding, audio.sample_rate_hertz) == (
            texttospeech_v1.AudioEncoding.PCM,
            24_000,
        )
        assert (await context.read()).input.text.strip()

        def sound(pcm: bytes) -> bytes:
            response = texttospeech_v1.StreamingSynthesizeResponse(audio_content=pcm)
            return texttospeech_v1.StreamingSynthesizeResponse.serialize(response)

        await self.speak(context, first, audio.speaking_rate, sound)


def _word(text: str, index: int) -> speech_v2.WordInfo:
    start = dt.timedelta(milliseconds=100 * index)
    return speech_v2.WordInfo(
        word=text,
        start_offset=start,
        end_offset=start + dt.timedelta(milliseconds=80),
        confidence=0.9,
    )


@asynccontextmanager
async def google_server() -> AsyncIterator[GoogleServer]:
    """Run the stand-in on a free port."""
    vendor = GoogleServer(("x-goog-api-key", KEY))
    services: dict[str, dict[str, Any]] = {
        "google.cloud.speech.v2.Speech": {
            "StreamingRecognize": stream_handler(
                vendor.StreamingRecognize, speech_v2.StreamingRecognizeRequest.deserialize
            )
        },
        "google.cloud.texttospeech.v1.TextToSpeech": {
            "StreamingSynthesize": stream_handler(
                vendor.StreamingSynthesize, texttospeech_v1.StreamingSynthesizeRequest.deserialize
            )
        },
    }
    async with grpc_server(vendor, services):
        yield vendor
