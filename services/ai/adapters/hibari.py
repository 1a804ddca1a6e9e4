"""Speech by Hibari (Apache-2.0): one voice, 24 kHz, some hundred times faster than real time.

The model makes a sentence at a time. Word times are its own durations (`hibari_durations`): what
of a reply was heard before an interruption is cut by them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from hibari import Hibari, dsp
from hibari.g2p.normalize import normalize
from hibari.tts import MAX_PHONEMES
from hibari.voices import voice_path

from services.ai.adapters.hibari_durations import (
    Span,
    SpokenAs,
    onto,
    pieces,
    spans,
    with_durations,
)
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
# A word begins to sound this much before the place that its durations give it. Seen at all speeds,
# by the onsets after pauses.
_SOUNDS_EARLY_MS = 50
# A pause on either side is all that the model is given for what it cannot pronounce.
_NOTHING_TO_SAY = 2
# Sentences that the grapheme-to-phoneme step, its dictionaries and the model have to have met
# before anybody waits for them: the first call takes near half a second, later ones 30 ms.
_WARM_UP = "Hello! How was your day? Tell me, please, about 3 things."


class HibariSynthesizer:
    """Speaks English in the shared pool."""

    def __init__(self, pool: ComputePool) -> None:
        model = with_durations(Path(voice_path(DEFAULT_VOICE)).read_bytes())
        # ``threads=1``: onnxruntime then makes no threads that could spin.
        self._engine = Hibari(voice=DEFAULT_VOICE, model=model, threads=1)
        self._pool = pool
        for sentence in self._engine.split_sentences(_WARM_UP):
            self._speak(sentence, 1.0)

    @property
    def capabilities(self) -> SynthesizerCapabilities:
        """24 kHz, the model's own word times, one voice."""
        return SynthesizerCapabilities(
            sample_rate_hz=SAMPLE_RATE_HZ, word_timing=WordTiming.ALIGNED, voices=_VOICES
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
        noise = np.random.default_rng(0)
        words = self._phonemized(sentence)
        audio: list[npt.NDArray[np.float32]] = []
        said: list[Span] = []
        length = 0
        for piece in pieces(words, MAX_PHONEMES):
            sound, places = self._said(piece, speed, noise)
            said += [Span(length + place.start, length + place.end) for place in places]
            audio.append(sound)
            length += len(sound)
        if not length:
            return SpeechChunk(pcm=b"")
        within = sentence.rstrip().endswith((",", ";", ":", "\u2014"))
        whole = np.concatenate(audio)
        begin, end = _trimmed(whole, _TRAIL_WITHIN_MS if within else _TRAIL_MS)
        text = sentence.split()
        return SpeechChunk(
            pcm=to_pcm_bytes(whole[begin:end]),
            words=tuple(_words(text, onto(text, words, said), begin, end)),
        )

    def _phonemized(self, sentence: str) -> list[SpokenAs]:
        """Return the words as the model is to say them; numbers and the like are written out."""
        text = normalize(sentence)
        tokens = self._engine.g2p.phonemize_tokens(self._engine.g2p.tokenize(text))
        found: list[str] = []
        phonemes = ""
        for token in tokens:
            phonemes += token.phonemes or ""
            if token.whitespace:
                found.append(phonemes)
                phonemes = ""
        found.append(phonemes)
        written = text.split()
        if len(written) != len(found):
            # Text in the library's own notation for pronunciations has words of its own.
            return [SpokenAs(text, " ".join(found))]
        return [SpokenAs(*pair) for pair in zip(written, found, strict=True)]

    def _said(
        self, words: Sequence[SpokenAs], speed: float, noise: np.random.Generator
    ) -> tuple[npt.NDArray[np.float32], list[Span]]:
        """Say a piece; with the samples at which each of its words begins and ends."""
        ids = self._engine.ids(" ".join(word.phonemes for word in words))
        if len(ids) == _NOTHING_TO_SAY:
            return np.zeros(0, np.float32), [Span(0, 0)] * len(words)
        *spectra, durations = self._engine.sess.run(
            None, {"ids": np.array([ids], np.int64), "speed": np.array([speed], np.float32)}
        )
        sound = dsp.synth(*(spectrum[0] for spectrum in spectra), noise)
        return sound, spans(words, self._engine.vocab, durations.ravel().tolist())


def _trimmed(audio: npt.NDArray[np.float32], trail_ms: int) -> tuple[int, int]:
    """Return what to keep: the listener waits for the sound, not for the silence around it."""
    loud = np.flatnonzero(np.abs(audio) > _SILENCE)
    if not len(loud):
        return 0, len(audio)
    begin = max(0, int(loud[0]) - SAMPLE_RATE_HZ * _LEAD_MS // 1000)
    return begin, min(len(audio), int(loud[-1]) + SAMPLE_RATE_HZ * trail_ms // 1000)


def _words(text: Sequence[str], said: Sequence[Span], begin: int, end: int) -> list[Word]:
    """Return the words with their times in what is kept of the audio."""
    early = SAMPLE_RATE_HZ * _SOUNDS_EARLY_MS // 1000

    def ms(sample: int) -> int:
        return ms_of_samples(min(max(sample - early, begin), end) - begin, SAMPLE_RATE_HZ)

    return [
        Word(text=word, start_ms=ms(span.start), end_ms=ms(span.end))
        for word, span in zip(text, said, strict=True)
    ]
