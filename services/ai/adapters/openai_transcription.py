"""Recognition by OpenAI's transcriptions: OpenAI itself, and servers of Whisper and its kin.

An utterance is sent whole at its pauses; there are no captions meanwhile, since each would be a
request that sends everything again.
"""

from __future__ import annotations

import asyncio
import io
import wave
from typing import Any

import numpy as np
from openai.types.audio import Transcription, TranscriptionVerbose
from pydantic import SecretStr

from services.ai.adapters.http_client import begun
from services.ai.adapters.openai_client import client_for, failures
from services.ai.audio import ms_of_samples
from services.ai.capabilities import (
    EMPTY_TRANSCRIPT,
    LEARNER_RATE_HZ,
    Pcm16,
    ProviderError,
    ProviderTimeoutError,
    RecognizerCapabilities,
    Transcript,
    Word,
    WordTiming,
)
from services.ai.engine_file import OpenAiTranscription
from services.ai.transcripts import time_words, transcript_of

# Five minutes are 9.6 MB; OpenAI takes 25 MB, and nobody speaks that long without a pause.
MAX_AUDIO_S = 300.0
# Below this peak, 0.3 % of full scale, nothing is said: these models make words up from silence.
_SILENT_PEAK = 100


def recognizer(name: str, part: OpenAiTranscription, key: SecretStr | None) -> OpenAiRecognizer:
    """Return the recognizer that ``part`` describes. Opens no connection yet."""
    return OpenAiRecognizer(name, part, key)


class OpenAiRecognizer:
    """Recognises whole utterances elsewhere."""

    def __init__(self, name: str, part: OpenAiTranscription, key: SecretStr | None) -> None:
        self._name = name
        self._part = part
        self._client = client_for(part, key)

    @property
    def capabilities(self) -> RecognizerCapabilities:
        """No captions; word times as the settings ask for them."""
        return RecognizerCapabilities(
            partials=False,
            word_timing=WordTiming.ALIGNED if self._part.word_times else WordTiming.ESTIMATED,
            word_confidence=False,
            languages=(self._part.language,),
            max_audio_s=MAX_AUDIO_S,
        )

    def open(self) -> OpenAiRecognition:
        """Start recognising one utterance."""
        return OpenAiRecognition(self)

    async def aclose(self) -> None:
        """Close every connection."""
        await self._client.close()

    async def transcribe(self, audio: Pcm16) -> Transcript:
        """Return the transcript of ``audio``. Raises ``ProviderError``."""
        if not len(audio) or int(np.abs(audio.astype(np.int32)).max()) < _SILENT_PEAK:
            return EMPTY_TRANSCRIPT
        try:
            async with asyncio.timeout(self._part.first_timeout_s):
                words = await self._words(audio)
        except TimeoutError:
            raise ProviderTimeoutError(f"{self._name} took too long to transcribe") from None
        return transcript_of(words, ms_of_samples(len(audio)))

    async def _words(self, audio: Pcm16) -> tuple[Word, ...]:
        part = self._part
        create = self._client.audio.transcriptions.create
        file = ("utterance.wav", _wav(audio), "audio/wav")
        shared: dict[str, Any] = {"model": part.model, "language": part.language}
        if part.prompt:
            shared["prompt"] = part.prompt
        with failures(self._name):
            if part.word_times:
                timed: TranscriptionVerbose = await begun(
                    lambda: create(
                        file=file,
                        response_format="verbose_json",
                        timestamp_granularities=["word"],
                        **shared,
                    )
                )
                text = timed.text
                words = [
                    Word(each.word.strip(), round(1000 * each.start), round(1000 * each.end))
                    for each in timed.words or ()
                    if each.word.strip()
                ]
                if words:
                    return tuple(words)
            else:
                plain: Transcription = await begun(
                    lambda: create(file=file, response_format="json", **shared)
                )
                text = plain.text
            estimated = [(word, 1.0) for word in text.split()]
        return time_words(estimated, audio, 0)


class OpenAiRecognition:
    """One utterance. Holds its audio, at most ``MAX_AUDIO_S``; later audio is ignored."""

    def __init__(self, recognizer: OpenAiRecognizer) -> None:
        self._recognizer = recognizer
        self._pieces: list[Pcm16] = []
        self._samples = 0
        self._known: tuple[int, Transcript] | None = None
        self._open = True

    def feed(self, audio: Pcm16) -> None:
        """Add audio."""
        room = int(MAX_AUDIO_S * LEARNER_RATE_HZ) - self._samples
        # A copy: the caller's buffer may be used again.
        audio = audio[: max(0, room)].copy()
        if len(audio):
            self._pieces.append(audio)
            self._samples += len(audio)

    async def partial(self) -> str | None:
        """Return None: see the module."""
        return None

    async def final(self) -> Transcript:
        """Return the transcript of everything fed so far; the same audio is sent once."""
        if not self._open:
            raise ProviderError("the utterance was closed", retryable=False, elsewhere=False)
        samples = self._samples
        if self._known is not None and self._known[0] == samples:
            return self._known[1]
        audio = np.concatenate(self._pieces) if self._pieces else np.zeros(0, np.int16)
        transcript = await self._recognizer.transcribe(audio)
        self._known = (samples, transcript)
        return transcript

    def close(self) -> None:
        """Let the audio go."""
        self._open = False
        self._pieces.clear()
        self._samples = 0


def _wav(audio: Pcm16) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(LEARNER_RATE_HZ)
        out.writeframes(audio.astype("<i2").tobytes())
    return file.getvalue()
