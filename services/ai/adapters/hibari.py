"""Speech by Hibari (Apache-2.0): one voice, 24 kHz, some hundred times faster than real time.

The model makes a sentence at a time and tells no durations, so word times are estimates: a
sentence's words share its audio in proportion to their letters, between its leading and trailing
silence.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import numpy as np
import numpy.typing as npt
from hibari import Hibari

from services.ai.audio import ms_of_samples, to_pcm_bytes
from services.ai.capabilities import (
    ProviderError,
    SpeechChunk,
    SynthesizerCapabilities,
    Voice,
    Word,
    WordTiming,
)
from services.ai.compute import ComputePool

SAMPLE_RATE_HZ = 24_000
DEFAULT_VOICE = "heart"
_VOICES = (
    Voice(
        id=DEFAULT_VOICE,
        language="en-US",
        description="Heart: a warm American woman",
        gender="female",
        sample_rate_hz=SAMPLE_RATE_HZ,
    ),
)
# The models' range; beyond it vowels smear.
_SPEEDS = (0.5, 2.0)
# Quieter than this, relative to full scale, is the silence around a sentence.
_SILENCE = 0.01
# The model puts 290 ms of silence before a sentence and 390 to 490 ms after it. Before, only enough
# is kept that the cut does not click; after, about the pause of a speaker who goes on: a breath
# after a sentence, less after a part of one.
_LEAD_MS = 10
_TRAIL_MS = 240
_TRAIL_WITHIN_MS = 110
# Sentences that the grapheme-to-phoneme step, its dictionaries and the model have to have met
# before anybody waits for them: the first call takes near half a second, later ones 30 ms.
_WARM_UP = "Hello! How was your day? Tell me, please, about 3 things."


class HibariSynthesizer:
    """Speaks English in the shared pool."""

    def __init__(self, pool: ComputePool) -> None:
        # ``threads=1``: onnxruntime then makes no threads that could spin.
        self._engine = Hibari(voice=DEFAULT_VOICE, threads=1)
        self._pool = pool
        for _ in self._engine.stream(_WARM_UP):
            pass

    @property
    def capabilities(self) -> SynthesizerCapabilities:
        """24 kHz, estimated word times, one voice."""
        return SynthesizerCapabilities(
            sample_rate_hz=SAMPLE_RATE_HZ, word_timing=WordTiming.ESTIMATED, voices=_VOICES
        )

    async def stream(self, text: str, voice: str, speed: float) -> AsyncIterator[SpeechChunk]:
        """Yield one chunk a sentence."""
        if voice and voice != DEFAULT_VOICE:
            raise ProviderError(f"the synthesizer has no voice {voice!r}", retryable=False)
        speed = min(max(speed, _SPEEDS[0]), _SPEEDS[1])
        for sentence in self._engine.split_sentences(text):
            chunk = await self._pool.run(self._speak, sentence, speed)
            if chunk.pcm:
                yield chunk

    def _speak(self, sentence: str, speed: float) -> SpeechChunk:
        # A fixed seed: the same text gives the same audio, which tests and caches rely on.
        parts = list(self._engine.stream(sentence, speed=speed, seed=0))
        if not parts:
            return SpeechChunk(pcm=b"")
        within = sentence.rstrip().endswith((",", ";", ":", "\u2014"))
        audio = _trimmed(np.concatenate(parts), _TRAIL_WITHIN_MS if within else _TRAIL_MS)
        return SpeechChunk(pcm=to_pcm_bytes(audio), words=tuple(_time_words(sentence, audio)))


def _trimmed(audio: npt.NDArray[np.float32], trail_ms: int) -> npt.NDArray[np.float32]:
    """Cut the silence around a sentence down: the listener waits for the sound."""
    loud = np.flatnonzero(np.abs(audio) > _SILENCE)
    if not len(loud):
        return audio
    begin = max(0, int(loud[0]) - SAMPLE_RATE_HZ * _LEAD_MS // 1000)
    return audio[begin : int(loud[-1]) + SAMPLE_RATE_HZ * trail_ms // 1000]


def _time_words(sentence: str, audio: npt.NDArray[np.float32]) -> Iterator[Word]:
    words = sentence.split()
    loud = np.flatnonzero(np.abs(audio) > _SILENCE)
    if not words or not len(loud):
        return
    begin, end = int(loud[0]), int(loud[-1]) + 1
    lengths = np.array([len(word) + 1 for word in words], float)
    edges = begin + np.concatenate([[0.0], np.cumsum(lengths)]) / lengths.sum() * (end - begin)
    for word, start, stop in zip(words, edges[:-1], edges[1:], strict=True):
        yield Word(
            text=word,
            start_ms=ms_of_samples(int(start), SAMPLE_RATE_HZ),
            end_ms=ms_of_samples(int(stop), SAMPLE_RATE_HZ),
        )
