"""A stand-in for NVIDIA Riva, over its own protobuf services."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from riva.client.proto import riva_asr_pb2, riva_audio_pb2, riva_tts_pb2

from tests.contract.vendors.grpc_server import Context, GrpcVendor, grpc_server, stream_handler

KEY = "test-riva"


class RivaServer(GrpcVendor):
    """The stand-in, with the rules on which Riva insists."""

    async def StreamingRecognize(self, _: object, context: Context) -> None:
        """Recognise one stream."""
        first = await context.read()
        config = first.streaming_config.config
        assert config.encoding == riva_audio_pb2.LINEAR_PCM
        assert (config.sample_rate_hertz, config.audio_channel_count) == (16_000, 1)
        assert first.streaming_config.interim_results

        def sound(message: riva_asr_pb2.StreamingRecognizeRequest) -> bytes:
            assert message.WhichOneof("streaming_request") == "audio_content"
            pcm: bytes = message.audio_content
            return pcm

        def words(texts: list[str], final: bool) -> bytes:
            response = riva_asr_pb2.StreamingRecognizeResponse()
            result = response.results.add(is_final=final, stability=1.0 if final else 0.1)
            best = result.alternatives.add(transcript=" ".join(texts))
            if final:
                for index, text in enumerate(texts):
                    at = 100 * index
                    best.words.add(word=text, start_time=at, end_time=at + 80, confidence=0.9)
            serialized: bytes = response.SerializeToString()
            return serialized

        await self.recognize(context, first, sound, words)

    async def SynthesizeOnline(self, _: object, context: Context) -> None:
        """Speak one text."""
        first = await context.read()
        assert first.text.strip()
        assert (first.encoding, first.sample_rate_hz) == (riva_audio_pb2.LINEAR_PCM, 24_000)
        speed = 1.5 if 'rate="150%"' in first.text else 1.0

        def sound(pcm: bytes) -> bytes:
            serialized: bytes = riva_tts_pb2.SynthesizeSpeechResponse(audio=pcm).SerializeToString()
            return serialized

        await self.speak(context, first, speed, sound)


@asynccontextmanager
async def riva_server() -> AsyncIterator[RivaServer]:
    """Run the stand-in on a free port."""
    vendor = RivaServer(("authorization", f"Bearer {KEY}"))
    services = {
        "nvidia.riva.asr.RivaSpeechRecognition": {
            "StreamingRecognize": stream_handler(
                vendor.StreamingRecognize, riva_asr_pb2.StreamingRecognizeRequest.FromString
            )
        },
        "nvidia.riva.tts.RivaSpeechSynthesis": {
            "SynthesizeOnline": stream_handler(
                vendor.SynthesizeOnline, riva_tts_pb2.SynthesizeSpeechRequest.FromString
            )
        },
    }
    async with grpc_server(vendor, services):
        yield vendor
