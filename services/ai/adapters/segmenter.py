"""Where growing audio can be cut, so that what lies before a cut is heard once and for all."""

from __future__ import annotations

from dataclasses import dataclass

from services.ai.adapters.local_recognition import piece_bounds
from services.ai.audio import samples_of_ms
from services.ai.capabilities import Pcm16, VoiceActivityDetector
from services.ai.turn_taking import VOICE_ON

# A pause this long is mostly one between sentences. What a shorter one cuts off is heard worse.
_PAUSE = samples_of_ms(550)
# So is what has little voice: a word alone is heard worse than in its sentence.
_MIN_VOICE = samples_of_ms(1000)
# Voice activity is seen a little late, and the first consonant is the quietest.
_LEAD = samples_of_ms(300)
# The last one is quiet too: so much of a pause belongs to the segment before it.
_TAIL = samples_of_ms(300)


@dataclass(frozen=True, slots=True)
class Segment:
    """From and to which sample; ``voice_end`` is one past the last voice, the end where none is."""

    start: int
    end: int
    voice_end: int


class Segmenter:
    """Cuts audio at long pauses, and what is longer than ``limit_s`` at its quietest place."""

    def __init__(self, detector: VoiceActivityDetector, limit_s: float) -> None:
        self._detector = detector.open()
        self._frame = detector.capabilities.frame_samples
        self._limit_s = limit_s
        self._position = 0
        self.closed: list[Segment] = []
        """The segments that no longer change."""
        # The open one: where it begins, and its frames with voice.
        self._start = 0
        self._voice: list[int] = []

    def advance(self, audio: Pcm16) -> Segment:
        """Look at what was added to ``audio``; return the segment that is still open."""
        while self._position + self._frame <= len(audio):
            at, self._position = self._position, self._position + self._frame
            if self._detector.probability(audio[at : self._position]) >= VOICE_ON:
                self._on_voice(at)
            bounds = piece_bounds(audio[self._start : self._position], self._limit_s)
            if len(bounds) > 1:
                self._cut(self._start + bounds[0][1])
        return self._open(len(audio))

    def _on_voice(self, at: int) -> None:
        if self._voice and len(self._voice) * self._frame >= _MIN_VOICE:
            segment = self._open(at)
            if at - segment.voice_end >= _PAUSE:
                self.closed.append(segment)
                self._start, self._voice = segment.voice_end, []
        if not self._voice:
            self._start = max(self._start, at - _LEAD)
        self._voice.append(at)

    def _cut(self, at: int) -> None:
        self.closed.append(Segment(self._start, at, at))
        self._start, self._voice = at, [each for each in self._voice if each >= at]

    def _open(self, end: int) -> Segment:
        if not self._voice:
            return Segment(self._start, end, end)
        voice_end = self._voice[-1] + self._frame
        return Segment(self._start, min(end, voice_end + _TAIL), voice_end)
