"""Google Cloud Speech, v2: streaming recognition by Google's official client."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any

from google.cloud import speech_v2
from google.cloud.speech_v2.services.speech.transports import SpeechGrpcAsyncIOTransport
from pydantic import SecretStr

from services.ai.adapters.google_account import GOOGLE_IS_OVER, GoogleClient, google_failures
from services.ai.adapters.grpc_channel import exchange
from services.ai.adapters.streamed_recognition import Result, StreamedRecognizer
from services.ai.capabilities import LEARNER_RATE_HZ, Word, WordTiming
from services.ai.engine_file import GoogleSpeech

_ADDRESS = "speech.googleapis.com"


def recognizer(name: str, part: GoogleSpeech, key: SecretStr | None) -> StreamedRecognizer:
    """Return the recognizer that ``part`` describes. Opens no connection yet.

    Raises ``ProviderRefusedError`` where Google's client finds no account.
    """
    timing = WordTiming.ALIGNED if part.word_times else WordTiming.ESTIMATED
    wire = GoogleSpeechWire(name, part, key)
    return StreamedRecognizer(name, part, wire, part.language, timing)


class GoogleSpeechWire:
    """Streams over one client."""

    def __init__(self, name: str, part: GoogleSpeech, key: SecretStr | None) -> None:
        self._name = name
        self._part = part
        address = _ADDRESS if part.location == "global" else f"{part.location}-{_ADDRESS}"
        self._client = GoogleClient(
            name,
            part,
            key,
            client=speech_v2.SpeechAsyncClient,
            transport=SpeechGrpcAsyncIOTransport,
            address=address,
        )

    async def recognize(self, audio: AsyncIterator[bytes]) -> AsyncGenerator[Result, None]:
        """Send ``audio``; yield what is recognised."""
        with google_failures(self._name):
            call = await self._client.get().streaming_recognize(
                metadata=self._client.metadata, timeout=None
            )
        responses = exchange(self._name, call, self._requests(audio), GOOGLE_IS_OVER)
        async with aclosing(responses):
            async for response in responses:
                for result in response.results:
                    if result.alternatives:
                        yield _read(result)

    async def aclose(self) -> None:
        """Close the channel."""
        await self._client.aclose()

    async def _requests(
        self, audio: AsyncIterator[bytes]
    ) -> AsyncIterator[speech_v2.StreamingRecognizeRequest]:
        part = self._part
        config = speech_v2.RecognitionConfig(
            explicit_decoding_config=speech_v2.ExplicitDecodingConfig(
                encoding=speech_v2.ExplicitDecodingConfig.AudioEncoding.LINEAR16,
                sample_rate_hertz=LEARNER_RATE_HZ,
                audio_channel_count=1,
            ),
            model=part.model,
            language_codes=[part.language],
            features=speech_v2.RecognitionFeatures(
                enable_word_time_offsets=part.word_times,
                enable_word_confidence=part.word_times,
                enable_automatic_punctuation=True,
            ),
        )
        if part.vocabulary:
            phrases = [speech_v2.PhraseSet.Phrase(value=each) for each in part.vocabulary]
            known = speech_v2.SpeechAdaptation.AdaptationPhraseSet(
                inline_phrase_set=speech_v2.PhraseSet(phrases=phrases, boost=_BOOST)
            )
            config.adaptation = speech_v2.SpeechAdaptation(phrase_sets=[known])
        yield speech_v2.StreamingRecognizeRequest(
            recognizer=f"projects/{part.project}/locations/{part.location}/recognizers/_",
            streaming_config=speech_v2.StreamingRecognitionConfig(
                config=config,
                streaming_features=speech_v2.StreamingRecognitionFeatures(interim_results=True),
            ),
        )
        async for piece in audio:
            yield speech_v2.StreamingRecognizeRequest(audio=piece)


# Of Google's 0 to 20: noticeable, and not so much that words are heard which were not said.
_BOOST = 10.0


def _read(result: speech_v2.StreamingRecognitionResult) -> Result:
    best = result.alternatives[0]
    if best.words:
        words = tuple(
            Word(
                each.word,
                _ms(each.start_offset),
                _ms(each.end_offset),
                each.confidence or best.confidence or 1.0,
            )
            for each in best.words
        )
        return Result(words, final=result.is_final, timed=True)
    words = tuple(Word(text, 0, 0, best.confidence or 1.0) for text in best.transcript.split())
    return Result(words, final=result.is_final, timed=False)


def _ms(offset: Any) -> int:
    """Return a duration, which the client gives as a timedelta whatever its types say."""
    return int(1000 * offset.total_seconds())
