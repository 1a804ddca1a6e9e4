"""Streaming recognition by Whisper, segment by segment, with captions by Moonshine.

Whisper understands accents better and takes longer: its encoder reads a whole window anew each
time. So what lies before a long pause is heard while more is being said, and when the speech ends
only the last segment is left. Captions are Moonshine's, whose drafts make them cheap. Whisper makes
words of noises as well: where no caption had words Moonshine is asked first whether there are any.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from services.ai.adapters.beam_search import Decoder, beam_search
from services.ai.adapters.local_recognition import (
    CAPABILITIES,
    Again,
    LocalRecognition,
    is_silent,
)
from services.ai.adapters.moonshine import without_loop
from services.ai.adapters.moonshine_model import MoonshineModel, Token, text_of, words_of
from services.ai.adapters.segmenter import Segment, Segmenter
from services.ai.audio import frame_energies, ms_of_samples, samples_of_ms, to_float
from services.ai.capabilities import (
    LEARNER_RATE_HZ,
    Pcm16,
    RecognizerCapabilities,
    Transcript,
    VoiceActivityDetector,
    Word,
)
from services.ai.compute import ComputePool
from services.ai.transcripts import bare, time_words, transcript_of

Floats: TypeAlias = npt.NDArray[np.float32]

_BEAMS = 5
# A beginning this much less likely than the likeliest never caught up on learners' recordings.
_MARGIN = 3.0
# The window is so much longer than the segment, of which the first part is the room's own sound:
# in a shorter window last words are lost, and silence that sets in at once is none that Whisper
# knows.
_WINDOW_BEHIND = samples_of_ms(2500)
_ROOM = samples_of_ms(500)
# The room is where the segment is quietest for so long.
_ROOM_HEARD = samples_of_ms(100)
_ROOM_FRAME = samples_of_ms(20)
# A segment whose voice went on for no longer after it was heard need not be heard again: a breath.
_BREATH = samples_of_ms(100)


class Listens(Protocol):
    """What is needed of ``whisper_model.WhisperModel``."""

    @property
    def vocabulary(self) -> Sequence[bytes]:
        """The pieces of text by their numbers."""

    def listen(self, samples: Floats, window: int) -> Decoder:
        """Encode ``samples`` (16 kHz) in a window of so many."""

    def token_limit(self, samples: int) -> int:
        """Return how many tokens so many samples may have."""


@dataclass(frozen=True, slots=True)
class _Heard:
    """The words of a segment, each with its confidence."""

    segment: Segment
    words: Sequence[tuple[str, float]]

    def covers(self, segment: Segment) -> bool:
        """Whether ``segment`` says no more."""
        said_since = segment.voice_end - self.segment.voice_end
        return segment.start == self.segment.start and 0 <= said_since <= _BREATH

    @property
    def text(self) -> str:
        """The words as they are written."""
        return " ".join(word for word, _ in self.words)


class _Hearing:
    """Two models over growing audio. Everything blocks, and calls must not overlap."""

    def __init__(self, whisper: Listens, moonshine: MoonshineModel, segmenter: Segmenter) -> None:
        self._whisper = whisper
        self._moonshine = moonshine
        self._segmenter = segmenter
        # The closed segments, as far as they were heard; and the open one, as it last was.
        self._heard: list[_Heard] = []
        self._open: _Heard | None = None
        # The last caption of each segment that may yet be heard, by where it begins.
        self._captions: dict[int, tuple[Token, ...]] = {}

    def caption(self, audio: Pcm16, stopped: Callable[[], bool]) -> str:
        """Return the words so far, those of the open segment by Moonshine."""
        segment = self._segmenter.advance(audio)
        self._hear_closed(audio, stopped)
        tokens = self._draft(segment, audio, stopped)
        return " ".join(filter(None, (*(each.text for each in self._heard), text_of(tokens))))

    def transcribe(self, audio: Pcm16, stopped: Callable[[], bool]) -> list[_Heard]:
        """Return the words of each segment; they mean nothing once it was stopped."""
        segment = self._segmenter.advance(audio)
        self._hear_closed(audio, stopped)
        last = self._hear(segment, audio, stopped)
        if not stopped():
            self._open = last
        return [*self._heard, last]

    def _hear_closed(self, audio: Pcm16, stopped: Callable[[], bool]) -> None:
        for segment in self._segmenter.closed[len(self._heard) :]:
            heard = self._hear(segment, audio, stopped)
            if stopped():
                return
            self._heard.append(heard)
            self._captions.pop(segment.start, None)

    def _hear(self, segment: Segment, audio: Pcm16, stopped: Callable[[], bool]) -> _Heard:
        if self._open is not None and self._open.covers(segment):
            return _Heard(segment, self._open.words)
        piece = audio[segment.start : segment.end]
        if stopped() or is_silent(to_float(piece)):
            return _Heard(segment, ())
        draft = self._captions.get(segment.start) or self._draft(segment, audio, stopped)
        if stopped() or not words_of(draft):
            return _Heard(segment, ())
        samples = to_float(in_its_room(piece))
        listening = self._whisper.listen(samples, len(piece) + _WINDOW_BEHIND)
        limit = self._whisper.token_limit(len(piece))
        path = beam_search(listening, width=_BEAMS, limit=limit, margin=_MARGIN, stopped=stopped)[0]
        tokens = without_loop(
            tuple(
                Token(number, self._whisper.vocabulary[number], log_probability)
                for number, log_probability in zip(
                    path.tokens, path.log_probabilities, strict=False
                )
            )
        )
        words = [(word, sure) for word, sure in words_of(tokens) if bare(word)]
        return _Heard(segment, words or words_of(draft))

    def _draft(
        self, segment: Segment, audio: Pcm16, stopped: Callable[[], bool]
    ) -> tuple[Token, ...]:
        samples = to_float(audio[segment.start : segment.end])
        before = self._captions.get(segment.start, ())
        if is_silent(samples):
            return before
        tokens = without_loop(self._moonshine.decode(samples, stopped, before))
        if not stopped():
            self._captions[segment.start] = tokens
        return tokens


def in_its_room(audio: Pcm16) -> Pcm16:
    """Return ``audio`` and behind it the room's own sound, as it has it where it is quietest."""
    energies = frame_energies(audio, _ROOM_FRAME)
    frames = _ROOM_HEARD // _ROOM_FRAME
    if len(energies) < frames:
        return audio
    quietest = int(np.convolve(energies, np.ones(frames), "valid").argmin()) * _ROOM_FRAME
    room = audio[quietest : quietest + _ROOM_HEARD]
    # To and fro, so that it has no seams.
    there_and_back = np.concatenate([room, room[::-1]])
    return np.concatenate([audio, np.resize(there_and_back, _ROOM)])


class WhisperRecognizer:
    """Recognises English, in segments of at most ``segment_s``, which Moonshine must bear too.

    ``again`` hears each utterance a second time when asked to; None: nobody does.
    """

    def __init__(
        self,
        whisper: Listens,
        moonshine: MoonshineModel,
        detector: VoiceActivityDetector,
        pool: ComputePool,
        *,
        segment_s: float,
        again: Again | None = None,
    ) -> None:
        self._whisper = whisper
        self._moonshine = moonshine
        self._detector = detector
        self._pool = pool
        self._segment_s = segment_s
        self._again = again
        # The first call of a model allocates its memory; nobody should wait for that.
        noise = np.random.default_rng(0).normal(0.0, 0.01, LEARNER_RATE_HZ).astype(np.float32)
        moonshine.decode(noise, lambda: False)
        beam_search(whisper.listen(noise, len(noise) + _WINDOW_BEHIND), width=_BEAMS, limit=2)

    @property
    def capabilities(self) -> RecognizerCapabilities:
        """What all on this machine have."""
        return CAPABILITIES

    def open(self) -> WhisperSession:
        """Start recognising one utterance."""
        segmenter = Segmenter(self._detector, self._segment_s)
        hearing = _Hearing(self._whisper, self._moonshine, segmenter)
        return WhisperSession(hearing, self._pool, self._again)


class WhisperSession(LocalRecognition):
    """One utterance."""

    def __init__(self, hearing: _Hearing, pool: ComputePool, again: Again | None) -> None:
        super().__init__(pool, again)
        self._hearing = hearing

    async def partial(self) -> str | None:
        """Return the words so far, or None when the pool has other work."""
        if not self._has_time:
            return None
        text, _ = await self._hear(self._hearing.caption)
        return text

    async def final(self) -> Transcript:
        """Return the transcript of everything fed so far."""
        segments, audio = await self._hear(self._hearing.transcribe)
        words: list[Word] = []
        for each in segments:
            start, end = each.segment.start, each.segment.end
            words.extend(time_words(each.words, audio[start:end], ms_of_samples(start)))
        return transcript_of(words, ms_of_samples(len(audio)))
