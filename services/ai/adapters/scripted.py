"""Scripted providers: each capability by a script, with delays and faults.

They are products as much as the models are: with them the whole pipeline can be tried, loaded and
broken on any machine, offline. Voice activity is loudness; speech is a tone.
"""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from functools import lru_cache

import numpy as np

from services.ai.audio import ms_of_samples, samples_of_ms, to_pcm_bytes
from services.ai.capabilities import (
    GenerationOptions,
    LanguageModelCapabilities,
    Message,
    Pcm16,
    ProviderError,
    RecognizerCapabilities,
    SpeechChunk,
    SynthesizerCapabilities,
    Transcript,
    TurnDetectorCapabilities,
    Voice,
    VoiceActivityCapabilities,
    Word,
    WordTiming,
)
from services.ai.script import Fault, RecognizerScript, Script, Where
from services.ai.transcripts import clean_text

Sleep = Callable[[float], Awaitable[None]]

SAMPLE_RATE_HZ = 24_000
# A peak of 2 % of full scale: above any microphone's noise, below any speech.
LOUD_PEAK = 650
# Loudness is judged of so much at a time: 20 ms.
FRAME_SAMPLES = 320
_TONE_HZ = 220.0
_TONE_LEVEL = 0.2
_VOICES = (
    Voice("tone", "en-US", "A tone, for tests", sample_rate_hz=SAMPLE_RATE_HZ),
    Voice("tone-low", "en-US", "A lower tone, for tests", sample_rate_hz=SAMPLE_RATE_HZ),
)
# How loud an utterance is, its last 200 ms of sound tell: what came before the onset is fed too,
# and may be the end of another.
_PEAK_FRAMES = 10
_PIECE = re.compile(r"\S+\s*")


def is_loud(frame: Pcm16) -> bool:
    """Whether ``frame`` counts as speech."""
    # Half the time of `max()`, fifty times a second for every session.
    return bool(len(frame)) and bool(frame[frame.argmax()] > LOUD_PEAK)


class _Faults:
    """Counts the calls of one session and fails those that the script names."""

    def __init__(self, script: Script, where: Where) -> None:
        self._script = script
        self._where: Where = where
        self.calls = 0

    def next_call(self) -> Fault | None:
        self.calls += 1
        return self._script.fault_at(self._where, self.calls)


def _error(fault: Fault) -> ProviderError:
    return ProviderError(fault.message, retryable=fault.retryable)


class ScriptedVad:
    """Voice activity by loudness."""

    @property
    def capabilities(self) -> VoiceActivityCapabilities:
        """20 ms frames."""
        return VoiceActivityCapabilities(FRAME_SAMPLES)

    def open(self) -> ScriptedVad:
        """Return itself: there is no state."""
        return self

    def probability(self, frame: Pcm16) -> float:
        """1 for a loud frame, else 0."""
        return 1.0 if is_loud(frame) else 0.0

    def reset(self) -> None:
        """Do nothing."""


class ScriptedTurnDetector:
    """Gives the scripted score."""

    def __init__(self, script: Script, sleep: Sleep = asyncio.sleep) -> None:
        self._script = script.turn_detector
        self._faults = _Faults(script, "turn_detector")
        self._sleep = sleep

    @property
    def capabilities(self) -> TurnDetectorCapabilities:
        """As Smart Turn's."""
        return TurnDetectorCapabilities(window_s=8.0)

    async def end_of_turn(self, audio: Pcm16) -> float:
        """Return the score, whatever the audio."""
        fault = self._faults.next_call()
        if self._script.delay_ms:
            await self._sleep(self._script.delay_ms / 1000)
        if fault is not None:
            raise _error(fault)
        return self._script.score


class ScriptedRecognizer:
    """Hears the scripted texts, one an utterance."""

    def __init__(self, script: Script, sleep: Sleep = asyncio.sleep) -> None:
        self._script = script
        self._faults = _Faults(script, "recognizer")
        self._sleep = sleep
        self._utterances = 0

    @property
    def capabilities(self) -> RecognizerCapabilities:
        """English with partials."""
        return RecognizerCapabilities(
            partials=True,
            word_timing=WordTiming.ESTIMATED,
            word_confidence=False,
            languages=("en",),
            max_audio_s=3600.0,
        )

    def open(self) -> ScriptedRecognition:
        """Begin the next utterance."""
        utterance, self._utterances = self._utterances, self._utterances + 1
        return ScriptedRecognition(self._script.recognizer, utterance, self._faults, self._sleep)


class ScriptedRecognition:
    """One utterance of a scripted recognizer."""

    def __init__(
        self, script: RecognizerScript, utterance: int, faults: _Faults, sleep: Sleep
    ) -> None:
        self._script = script
        self._utterance = utterance
        self._delay_s = script.delay_ms / 1000
        self._faults = faults
        self._sleep = sleep
        self._samples = 0
        self._peaks: deque[int] = deque([0], _PEAK_FRAMES)

    @property
    def _text(self) -> str:
        return self._script.heard(self._utterance, max(self._peaks))

    def feed(self, audio: Pcm16) -> None:
        """Count the audio."""
        self._samples += len(audio)
        if is_loud(audio):
            self._peaks.append(int(audio.max()))

    async def partial(self) -> str | None:
        """Return one word for every 300 ms heard."""
        words = self._text.split()
        return " ".join(words[: max(1, ms_of_samples(self._samples) // 300)])

    async def final(self) -> Transcript:
        """Return the scripted text."""
        fault = self._faults.next_call()
        if self._delay_s:
            await self._sleep(self._delay_s)
        if fault is not None:
            raise _error(fault)
        return scripted_transcript(self._text, ms_of_samples(self._samples))

    @property
    def again_by(self) -> str:
        """The script, where it says what a second hearing is."""
        return "scripted-again" if self._script.again else ""

    async def again(self, expected: Collection[str]) -> Transcript | None:
        """Return what the script makes of a second hearing."""
        texts = self._script.again
        if not texts:
            return None
        text = texts[self._utterance % len(texts)]
        return scripted_transcript(text, ms_of_samples(self._samples))

    def close(self) -> None:
        """Do nothing."""


def scripted_transcript(text: str, audio_ms: int) -> Transcript:
    """Return ``text`` as if it had been recognised in ``audio_ms`` of audio, evenly spread."""
    words = text.split()
    step = audio_ms // len(words) if words else 0
    return Transcript(
        verbatim=text,
        clean=clean_text(words),
        words=tuple(Word(word, i * step, (i + 1) * step) for i, word in enumerate(words)),
        confidence=1.0,
        audio_ms=audio_ms,
    )


class ScriptedLanguageModel:
    """Writes the scripted replies, one a call."""

    def __init__(self, script: Script, sleep: Sleep = asyncio.sleep) -> None:
        self._script = script
        self._sleep = sleep

    @property
    def writing(self) -> int:
        """A script carries any number of replies: none is ever in another's way."""
        return 0

    @property
    def capabilities(self) -> LanguageModelCapabilities:
        """No cache and no bound on sessions."""
        return LanguageModelCapabilities(
            context_tokens=4096, prompt_cache=False, max_sessions=1_000_000
        )

    def open(self) -> ScriptedWriting:
        """Begin a conversation at the first reply."""
        return ScriptedWriting(self._script, self._sleep)

    async def warm(self, messages: Sequence[Message]) -> None:
        """Do nothing."""

    def count_tokens(self, text: str) -> int:
        """A token a word."""
        return len(text.split())


class ScriptedWriting:
    """One conversation of a scripted language model; it keeps the prompts that it was given."""

    def __init__(self, script: Script, sleep: Sleep) -> None:
        self._script = script.language_model
        self._faults = _Faults(script, "language_model")
        self._sleep = sleep
        self.prompts: list[tuple[Message, ...]] = []
        self.primed: list[tuple[Message, ...]] = []
        self.is_open = True

    async def prime(self, messages: Sequence[Message]) -> None:
        """Remember what was asked for."""
        self.primed.append(tuple(messages))

    async def stream(
        self, messages: Sequence[Message], options: GenerationOptions
    ) -> AsyncIterator[str]:
        """Yield the next reply word by word."""
        fault = self._faults.next_call()
        self.prompts.append(tuple(messages))
        replies = self._script.replies
        pieces = _PIECE.findall(replies[(self._faults.calls - 1) % len(replies)])
        if self._script.first_token_ms:
            await self._sleep(self._script.first_token_ms / 1000)
        for index, piece in enumerate(pieces[: options.max_tokens]):
            if fault is not None and index >= fault.after_pieces:
                raise _error(fault)
            if index and self._script.token_ms:
                await self._sleep(self._script.token_ms / 1000)
            yield piece

    def close(self) -> None:
        """Remember that the place was given back."""
        self.is_open = False


class ScriptedSynthesizer:
    """Speaks a tone as long as the words take."""

    def __init__(self, script: Script, sleep: Sleep = asyncio.sleep) -> None:
        self._script = script.synthesizer
        self._faults = _Faults(script, "synthesizer")
        self._sleep = sleep

    @property
    def capabilities(self) -> SynthesizerCapabilities:
        """24 kHz; word times are exact, since they are made up."""
        return SynthesizerCapabilities(SAMPLE_RATE_HZ, WordTiming.ALIGNED, _VOICES)

    async def stream(self, text: str, voice: str, speed: float) -> AsyncIterator[SpeechChunk]:
        """Yield the tone in one chunk."""
        if voice and voice not in {known.id for known in _VOICES}:
            raise ProviderError(f"the synthesizer has no voice {voice!r}", retryable=False)
        fault = self._faults.next_call()
        if self._script.first_audio_ms:
            await self._sleep(self._script.first_audio_ms / 1000)
        if fault is not None:
            raise _error(fault)
        yield scripted_speech(text, int(self._script.ms_per_word / speed), voice)


def scripted_speech(text: str, ms_per_word: int, voice: str = "") -> SpeechChunk:
    """Return a tone that lasts ``ms_per_word`` for each word of ``text``."""
    words = text.split()
    timed = tuple(
        Word(word, i * ms_per_word, (i + 1) * ms_per_word) for i, word in enumerate(words)
    )
    return SpeechChunk(_tone(len(words) * ms_per_word, voice == "tone-low"), timed)


@lru_cache(maxsize=256)
def _tone(length_ms: int, low: bool) -> bytes:
    time = np.arange(samples_of_ms(length_ms, SAMPLE_RATE_HZ), dtype=np.float32) / SAMPLE_RATE_HZ
    pitch = _TONE_HZ / 2 if low else _TONE_HZ
    return to_pcm_bytes((_TONE_LEVEL * np.sin(2 * np.pi * pitch * time)).astype(np.float32))
