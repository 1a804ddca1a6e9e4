"""NVIDIA Riva: recognition and speech on a host's own GPU, over Riva's own protobuf services."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from xml.sax.saxutils import escape

import grpc.aio
from pydantic import SecretStr
from riva.client.proto import riva_asr_pb2, riva_audio_pb2, riva_tts_pb2
from riva.client.proto.riva_asr_pb2_grpc import RivaSpeechRecognitionStub
from riva.client.proto.riva_tts_pb2_grpc import RivaSpeechSynthesisStub

from services.ai.adapters.grpc_channel import channel_to, exchange
from services.ai.adapters.http_failures import broke_off, unreadable
from services.ai.adapters.speech import Pieces, chosen, is_speakable, voices_of
from services.ai.adapters.streamed_recognition import Result, StreamedRecognizer
from services.ai.capabilities import (
    LEARNER_RATE_HZ,
    SpeechChunk,
    SynthesizerCapabilities,
    Word,
    WordTiming,
)
from services.ai.engine_file import RivaPart, RivaRecognition, RivaSpeech
from services.ai.streams import timely


def recognizer(name: str, part: RivaRecognition, key: SecretStr | None) -> StreamedRecognizer:
    """Return the recognizer that ``part`` describes. Opens no connection yet."""
    wire = RivaWire(name, part, key)
    return StreamedRecognizer(name, part, wire, part.language, WordTiming.ALIGNED)


def synthesizer(name: str, part: RivaSpeech, key: SecretStr | None) -> RivaSynthesizer:
    """Return the synthesizer that ``part`` describes. Opens no connection yet."""
    return RivaSynthesizer(name, part, key)


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
        self._channel: grpc.aio.Channel | None = None

    async def recognize(self, audio: AsyncIterator[bytes]) -> AsyncGenerator[Result, None]:
        """Send ``audio``; yield what is recognised."""
        if self._channel is None:
            # Made here: a channel belongs to the loop that it is made in.
            self._channel = channel_to(self._part.base_url)
        recognize = RivaSpeechRecognitionStub(self._channel).StreamingRecognize
        call = recognize(metadata=self._metadata)
        responses = exchange(self._name, call, self._requests(audio))
        async with aclosing(responses):
            async for response in responses:
                for result in response.results:
                    if result.alternatives:
                        yield _read(result)

    async def aclose(self) -> None:
        """Close the channel."""
        if self._channel is not None:
            await self._channel.close()

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


class RivaSynthesizer:
    """Speaks over one channel."""

    def __init__(self, name: str, part: RivaSpeech, key: SecretStr | None) -> None:
        self._name = name
        self._part = part
        self._metadata = _metadata(part, key)
        self._channel: grpc.aio.Channel | None = None
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
        if self._channel is not None:
            await self._channel.close()

    async def _speech(self, text: str, voice: str, speed: float) -> AsyncGenerator[bytes, None]:
        if self._channel is None:
            self._channel = channel_to(self._part.base_url)
        request = riva_tts_pb2.SynthesizeSpeechRequest(
            text=_spoken(text, speed),
            language_code=self._part.language,
            encoding=riva_audio_pb2.LINEAR_PCM,
            sample_rate_hz=self._part.sample_rate_hz,
            voice_name=voice,
        )
        pieces = Pieces(self._part.sample_rate_hz)
        said = 0
        call = RivaSpeechSynthesisStub(self._channel).SynthesizeOnline(metadata=self._metadata)
        responses = exchange(self._name, call, _once(request))
        async with aclosing(responses):
            async for response in responses:
                said += len(response.audio)
                if piece := pieces.add(response.audio):
                    yield piece
        if rest := pieces.end():
            yield rest
        if not said:
            raise broke_off(self._name)
        if said % 2:
            raise unreadable(self._name)


async def _once(
    request: riva_tts_pb2.SynthesizeSpeechRequest,
) -> AsyncIterator[riva_tts_pb2.SynthesizeSpeechRequest]:
    yield request


def _spoken(text: str, speed: float) -> str:
    """Return ``text`` with its pace, which Riva takes as SSML alone."""
    if speed == 1.0:
        return text
    return f'<speak><prosody rate="{round(100 * speed)}%">{escape(text)}</prosody></speak>'
