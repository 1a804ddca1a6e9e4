"""Google Cloud Speech, v2: streaming recognition by Google's official client."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing, contextmanager
from typing import Any

import google.auth.exceptions
import grpc
import grpc.aio
from google.api_core import exceptions
from google.api_core.client_options import ClientOptions
from google.cloud import speech_v2
from google.cloud.speech_v2.services.speech.transports import SpeechGrpcAsyncIOTransport
from pydantic import SecretStr

from services.ai.adapters import grpc_channel
from services.ai.adapters.grpc_channel import exchange, failure
from services.ai.adapters.streamed_recognition import Result, StreamedRecognizer
from services.ai.capabilities import LEARNER_RATE_HZ, ProviderRefusedError, Word, WordTiming
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
        self._channel: grpc.aio.Channel | None = None
        self._metadata = key_metadata(key) if part.base_url else []
        with google_failures(name):
            self._client = self._make_client(key)

    async def recognize(self, audio: AsyncIterator[bytes]) -> AsyncGenerator[Result, None]:
        """Send ``audio``; yield what is recognised."""
        with google_failures(self._name):
            call = await self._client.streaming_recognize(metadata=self._metadata, timeout=None)
        responses = exchange(self._name, call, self._requests(audio), GOOGLE_IS_OVER)
        async with aclosing(responses):
            async for response in responses:
                for result in response.results:
                    if result.alternatives:
                        yield _read(result)

    async def aclose(self) -> None:
        """Close the channel."""
        close: Callable[[], Awaitable[None]] = self._client.transport.close
        await close()

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

    def _make_client(self, key: SecretStr | None) -> speech_v2.SpeechAsyncClient:
        part = self._part
        if part.base_url:
            self._channel = grpc_channel.channel_to(part.base_url)
            transport = SpeechGrpcAsyncIOTransport(channel=self._channel)
            return speech_v2.SpeechAsyncClient(transport=transport)
        address = _ADDRESS if part.location == "global" else f"{part.location}-{_ADDRESS}"
        options = ClientOptions(api_endpoint=address)
        if key is not None:
            options.api_key = key.get_secret_value()
        elif part.credentials_file is not None:
            path = str(part.credentials_file.expanduser())
            client: speech_v2.SpeechAsyncClient
            client = speech_v2.SpeechAsyncClient.from_service_account_file(
                path, client_options=options
            )
            return client
        return speech_v2.SpeechAsyncClient(client_options=options)


# Of Google's 0 to 20: noticeable, and not so much that words are heard which were not said.
_BOOST = 10.0


def key_metadata(key: SecretStr | None) -> list[tuple[str, str]]:
    """Return the header with an API key, for channels to which the client adds none."""
    return [("x-goog-api-key", key.get_secret_value())] if key is not None else []


GOOGLE_IS_OVER: tuple[type[Exception], ...] = (
    *grpc_channel.CALL_IS_OVER,
    exceptions.GoogleAPICallError,
)
"""What Google's clients raise where a call has ended."""


@contextmanager
def google_failures(who: str) -> Iterator[None]:
    """Tell of what Google's clients raise before a call has begun as ``ProviderError``."""
    try:
        yield
    except exceptions.GoogleAPICallError as error:
        raise failure(who, error.grpc_status_code or grpc.StatusCode.UNKNOWN) from error
    except google.auth.exceptions.GoogleAuthError as error:
        raise ProviderRefusedError(
            f"{who} has no Google account: set GOOGLE_APPLICATION_CREDENTIALS, or credentials_file"
        ) from error
    except OSError as error:
        raise ProviderRefusedError(f"{who}: the credentials_file cannot be read") from error


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
