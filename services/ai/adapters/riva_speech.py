"""NVIDIA Riva: recognition and speech on a host's own GPU, over Riva's own protobuf services."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from xml.sax.saxutils import escape

from pydantic import SecretStr
from riva.client.proto import riva_asr_pb2, riva_audio_pb2, riva_tts_pb2
from riva.client.proto.riva_asr_pb2_grpc import RivaSpeechRecognitionStub
from riva.client.proto.riva_tts_pb2_grpc import RivaSpeechSynthesisStub

from services.ai.adapters.grpc_channel import LateChannel, exchange
from services.ai.adapters.streamed_recognition import Result, StreamedRecognizer
from services.ai.adapters.streamed_speech import StreamedSynthesizer
from services.ai.capabilities import LEARNER_RATE_HZ, Word, WordTiming
from services.ai.engine_file import RivaPart, RivaRecognition, RivaSpeech


def recognizer(name: str, part: RivaRecognition, key: SecretStr | None) -> StreamedRecognizer:
    """Return the recognizer that ``part`` describes. Opens no connection yet."""
    wire = RivaWire(name, part, key)
    return StreamedRecognizer(name, part, wire, part.language, WordTiming.ALIGNED)


def synthesizer(name: str, part: RivaSpeech, key: SecretStr | None) -> StreamedSynthesizer:
    """Return the synthesizer that ``part`` describes. Opens no connection yet."""
    return StreamedSynthesizer(name, part, RivaSpeechWire(name, part, key))


def _metadata(part: RivaPart, key: SecretStr | None) -> Sequence[tuple[str, str]]:
    told = [(name.lower(), value) for name, value in part.metadata.items()]
    if key is not None:
        told.append(("authorization", f"Bearer {key.get_secret_value()}"))
    return told


class RivaWire:
    """Recognition over one channel."""

    def __init__(self, name: str, part: RivaRecognition, key: SecretStr | None) -> None:
        self._name = name
        self._part = part
        self._metadata = _metadata(part, key)
        self._channel = LateChannel(part.base_url)

    async def recognize(self, audio: AsyncIterator[bytes]) -> AsyncGenerator[Result, None]:
        """Send ``audio``; yield what is recognised."""
        recognize = RivaSpeechRecognitionStub(self._channel.get()).StreamingRecognize
        call = recognize(metadata=self._metadata)
        responses = exchange(self._name, call, self._requests(audio))
        async with aclosing(responses):
            async for response in responses:
                for result in response.results:
                    if result.alternatives:
                        yield _read(result)

    async def aclose(self) -> None:
        """Close the channel."""
        await self._channel.aclose()

    async def _requests(
        self, audio: AsyncIterator[bytes]
    ) -> AsyncIterator[riva_asr_pb2.StreamingRecognizeRequest]:
        part = self._part
        config = riva_asr_pb2.RecognitionConfig(
            encoding=riva_audio_pb2.LINEAR_PCM,
            sample_rate_hertz=LEARNER_RATE_HZ,
            audio_channel_count=1,
            language_code=part.language,
            max_alternatives=1,
            enable_word_time_offsets=True,
            enable_automatic_punctuation=True,
            verbatim_transcripts=True,
            model=part.model,
        )
        if part.vocabulary:
            known = config.speech_contexts.add(boost=_BOOST)
            known.phrases.extend(part.vocabulary)
        streaming = riva_asr_pb2.StreamingRecognitionConfig(config=config, interim_results=True)
        yield riva_asr_pb2.StreamingRecognizeRequest(streaming_config=streaming)
        async for piece in audio:
            yield riva_asr_pb2.StreamingRecognizeRequest(audio_content=piece)


# Riva's guide advises 20 to 100 for words that are in its vocabulary.
_BOOST = 20.0


def _read(result: riva_asr_pb2.StreamingRecognitionResult) -> Result:
    best = result.alternatives[0]
    if best.words:
        words = tuple(
            Word(each.word, each.start_time, each.end_time, _probability(each.confidence))
            for each in best.words
        )
        return Result(words, final=result.is_final, timed=True)
    words = tuple(Word(text, 0, 0) for text in best.transcript.split())
    return Result(words, final=result.is_final, timed=False)


def _probability(confidence: float) -> float:
    """Return Riva's confidence as one of 0 to 1: some of its models give logarithms, or nothing."""
    return confidence if 0.0 < confidence <= 1.0 else 1.0


class RivaSpeechWire:
    """Speaks over one channel."""

    whole_samples = True

    def __init__(self, name: str, part: RivaSpeech, key: SecretStr | None) -> None:
        self._name = name
        self._part = part
        self._metadata = _metadata(part, key)
        self._channel = LateChannel(part.base_url)

    async def speak(self, text: str, voice: str, speed: float) -> AsyncGenerator[bytes, None]:
        """Yield the audio of the responses."""
        request = riva_tts_pb2.SynthesizeSpeechRequest(
            text=_spoken(text, speed),
            language_code=self._part.language,
            encoding=riva_audio_pb2.LINEAR_PCM,
            sample_rate_hz=self._part.sample_rate_hz,
            voice_name=voice,
        )
        speaking = RivaSpeechSynthesisStub(self._channel.get()).SynthesizeOnline
        call = speaking(metadata=self._metadata)
        responses = exchange(self._name, call, _once(request))
        async with aclosing(responses):
            async for response in responses:
                yield response.audio

    async def aclose(self) -> None:
        """Close the channel."""
        await self._channel.aclose()


async def _once(
    request: riva_tts_pb2.SynthesizeSpeechRequest,
) -> AsyncIterator[riva_tts_pb2.SynthesizeSpeechRequest]:
    yield request


def _spoken(text: str, speed: float) -> str:
    """Return ``text`` with its pace, which Riva takes as SSML alone."""
    if speed == 1.0:
        return text
    return f'<speak><prosody rate="{round(100 * speed)}%">{escape(text)}</prosody></speak>'
